"""Every path, tag, metric key and direction that the package writes or reads: born here, nowhere else.

Numbers in names are zero-padded, so that text order is epoch order.
"""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass
from numbers import Integral
from typing import Final, Literal

from mlflow_pt_eval.errors import BadInput, PathEscape

Mode = Literal["max", "min"]
Task = Literal["binary", "multiclass", "multilabel"]
Outputs = Literal["logits", "probabilities"]

# --- tags ------------------------------------------------------------------------------------
TAG_KIND: Final = "pt_eval.kind"
KIND_TRAINING: Final = "training"
KIND_EVALUATION: Final = "evaluation"
KIND_COMPARISON: Final = "comparison"
KIND_PROMOTION: Final = "promotion"
KIND_ADOPTION: Final = "adoption"

# training run
TAG_RESUMABLE: Final = "pt_eval.resumable"
TAG_LATEST_CHECKPOINT: Final = "pt_eval.latest_checkpoint"
TAG_RUN_NAME: Final = "pt_eval.run_name"  # where the run, the caller's, keeps another name
TAG_MONITORS: Final = "pt_eval.monitors"  # whose best epochs are kept: JSON, [[metric, mode], …]
TAG_INTERRUPTED: Final = "pt_eval.interrupted"
TAG_ATTEMPT: Final = "pt_eval.attempt"
TAG_ATTEMPTS: Final = "pt_eval.attempts"
TAG_ATTEMPT_OF: Final = "pt_eval.attempt_of"
TAG_PARAM_DRIFT: Final = "pt_eval.param_drift"
TAG_GIT_DIRTY: Final = "pt_eval.git_dirty"
TAG_STOP_REASON: Final = "pt_eval.stop_reason"

# model version
TAG_RUN_ID: Final = "pt_eval.run_id"
TAG_EPOCH: Final = "pt_eval.epoch"
TAG_STEP: Final = "pt_eval.step"
TAG_MONITOR: Final = "pt_eval.monitor"
TAG_VALUE: Final = "pt_eval.value"
TAG_WEIGHTS_SHA256: Final = "pt_eval.weights_sha256"
TAG_OUTPUTS: Final = "pt_eval.outputs"
TAG_FORM: Final = "pt_eval.form"
TAG_FORM_REASON: Final = "pt_eval.form_reason"
TAG_SOURCE_FILE: Final = "pt_eval.source_file"
TAG_SOURCE_MTIME: Final = "pt_eval.source_mtime"
TAG_SOURCE_SHA256: Final = "pt_eval.source_sha256"
TAG_TEST_ACCURACY: Final = "pt_eval.test_accuracy"
TAG_DATASET_DIGEST: Final = "pt_eval.dataset_digest"
TAG_EVALUATION_RUN_ID: Final = "pt_eval.evaluation_run_id"
TAG_DECISION: Final = "pt_eval.decision"

# what a published model says of itself in its MLmodel file, beside its outputs, form and digest
META_CALL: Final = "pt_eval.call"
META_CLASS_NAMES: Final = "pt_eval.class_names"
META_FACTORY: Final = "pt_eval.factory"
META_FACTORY_KWARGS: Final = "pt_eval.factory_kwargs"

# in a batch that is a mapping: what holds the labels
LABEL_KEYS: Final = ("labels", "label")

# evaluation run (with TAG_DATASET_DIGEST)
TAG_MODEL_URI: Final = "pt_eval.model_uri"
TAG_SPLIT: Final = "pt_eval.split"
TAG_EVALUATED: Final = "pt_eval.evaluated"  # when, in milliseconds since 1970: the run may be older
TAG_ERROR: Final = "pt_eval.error"
TAG_CRITERION: Final = "pt_eval.criterion"

# comparison run (with TAG_SPLIT and TAG_DATASET_DIGEST)
TAG_COMPARED: Final = "pt_eval.compared"
TAG_BASELINE: Final = "pt_eval.baseline"

# registered model
TAG_ALIAS_LEDGER_PREFIX: Final = "pt_eval.ledger."  # + alias
TAG_ALIAS_CLAIM_PREFIX: Final = "pt_eval.claim."  # + alias + "." + a random key; there while an alias is being moved

MLFLOW_PARENT_RUN_ID: Final = "mlflow.parentRunId"

# --- aliases ---------------------------------------------------------------------------------
CHALLENGER: Final = "challenger"
CHAMPION: Final = "champion"

# --- artifacts -------------------------------------------------------------------------------
CHECKPOINTS_DIR: Final = "checkpoints"
STATE_FILE: Final = "state.pt"
MANIFEST_FILE: Final = "manifest.json"
WEIGHTS_FILE: Final = "weights.safetensors"
ENVIRONMENT_FILE: Final = "environment.txt"
TRACEBACK_FILE: Final = "traceback.txt"
PARAM_DRIFT_FILE: Final = "param_drift.json"
STAGING_DIR: Final = ".mlflow_pt_eval"

CONFUSION_PNG: Final = "confusion_matrix.png"
CONFUSION_NORMALIZED_PNG: Final = "confusion_matrix_normalized.png"
ROC_PNG: Final = "roc_curve.png"
PRECISION_RECALL_PNG: Final = "precision_recall_curve.png"
CALIBRATION_PNG: Final = "calibration_curve.png"
PER_CLASS_CSV: Final = "per_class.csv"
EVALUATION_JSON: Final = "evaluation.json"
REPORT_HTML: Final = "report.html"
PREDICTIONS_PARQUET: Final = "predictions.parquet"
MISTAKES_CSV: Final = "worst_mistakes.csv"
MISTAKES_PNG: Final = "worst_mistakes.png"

DECISION_JSON: Final = "decision.json"
COMPARISON_JSON: Final = "comparison.json"
COMPARISON_CSV: Final = "comparison.csv"
COMPARISON_PNG: Final = "comparison.png"
ROC_OVERLAY_PNG: Final = "roc_overlay.png"
FLIPS_CSV: Final = "flips.csv"

# --- metrics ---------------------------------------------------------------------------------
VAL_LOSS: Final = "val_loss"
VAL_ACCURACY: Final = "val_accuracy"
TRAIN_LOSS: Final = "train_loss"
EPOCH_MEAN_SUFFIX: Final = "_epoch"

# The metrics of an evaluation for which a smaller number is the better one; for all others a larger one is.
LOWER_IS_BETTER: Final = frozenset({"loss", "log_loss", "brier_score", "expected_calibration_error", "hamming_loss"})

LONGEST_METRIC: Final = "expected_calibration_error"  # of an evaluation's keys, without the split


def direction(metric: str) -> Mode:
    """Say which way an evaluation's metric improves, with or without its split's prefix."""
    return "min" if any(metric == key or metric.endswith("_" + key) for key in LOWER_IS_BETTER) else "max"


# --- checkpoint names ------------------------------------------------------------------------
_CHECKPOINT = re.compile(r"epoch=(\d{4,})-step=(\d{9,})(-partial)?")


@dataclass(frozen=True, order=True)
class CheckpointName:
    """The folder of one checkpoint: sorted by age, a finished epoch after any partial one of the same epoch."""

    epoch: int
    step: int
    complete: bool

    def __str__(self) -> str:
        return f"epoch={self.epoch:04d}-step={self.step:09d}{'' if self.complete else '-partial'}"

    @property
    def path(self) -> str:
        """The artifact path of the folder, from the run's root."""
        return f"{CHECKPOINTS_DIR}/{self}"

    @classmethod
    def parse(cls, text: str) -> CheckpointName | None:
        """Read a folder's name (its last part); None if it is not a checkpoint's."""
        found = _CHECKPOINT.fullmatch(text.rstrip("/").rpartition("/")[2])
        if found is None:
            return None
        return cls(epoch=int(found[1]), step=int(found[2]), complete=found[3] is None)


def shard_file(rank: int, size: int) -> str:
    """Return the name of the file that process *rank* of *size* writes of a sharded state, beside STATE_FILE."""
    return f"shard-{rank:05d}-of-{size:05d}.pt"


def is_of_another(file: str) -> bool:
    """Say whether a checkpoint's file is one that another process than the first writes."""
    return file.startswith("shard-") and not file.startswith("shard-00000-")


# --- names from users ------------------------------------------------------------------------
_METRIC_KEY = re.compile(r"[\w\-. :/]{1,250}")
_REGISTRY_NAME = re.compile(r"[^/:]{1,250}")
_ALIAS = re.compile(r"[A-Za-z0-9_-]{1,255}")
_VERSION_WITH_V = re.compile(r"v\d+", re.IGNORECASE)
_RESERVED_ALIAS = re.compile(r"latest|v\d+", re.IGNORECASE)
# '#' and '?' end a URL's path, '%' starts an escape, the rest no file system shares.
_UNSAFE_IN_ARTIFACT = re.compile(r"[^\w\-. =+]")


def check_metric_key(key: str) -> str:
    """Return *key* if every MLflow store takes it as a metric's name; BadInput otherwise."""
    if not _is_metric_key(key):
        raise BadInput(
            f"{key!r} is not a metric key that MLflow takes: use letters, digits, '_', '-', '.', ' ', ':' and '/', "
            "at most 250 of them (val_acc_at_5 instead of val_acc@5), and no path such as '/a', '../a' or 'a//b'."
        )
    return key


def check_split(split: str) -> str:
    """Return *split* if it can stand in front of every metric of an evaluation; BadInput otherwise."""
    if not isinstance(split, str) or not split or not _is_metric_key(f"{split}_{LONGEST_METRIC}"):
        raise BadInput(
            f"split is {split!r}, which cannot stand in front of a metric's key: use letters, digits, '_', '-', '.', "
            f"' ', ':' and '/', at most {249 - len(LONGEST_METRIC)} of them, and no path such as '/a' or '../a'."
        )
    return split


def _is_metric_key(key: str) -> bool:
    # A file store keeps a metric as a file: the key has to be the path that it leads to, inside.
    outside = key.startswith(("/", "..")) or key in {".", ""}
    return _METRIC_KEY.fullmatch(key) is not None and not outside and posixpath.normpath(key) == key


def check_model_name(name: str) -> str:
    """Return *name* if a registered model can be called so; BadInput otherwise."""
    fits = isinstance(name, str) and _REGISTRY_NAME.fullmatch(name) and name not in {".", ".."} and name == name.strip()
    if not fits or {"'", '"'} <= set(name):  # MLflow's filters have no text with both
        raise BadInput(
            f"{name!r} cannot name a registered model: use 1 to 250 characters, but neither '/' nor ':', no blank at "
            "an end, not both kinds of quotes, and not '.' or '..' alone."
        )
    return name


def check_alias(alias: str) -> str:
    """Return *alias* if MLflow's registry takes it and nobody takes it for a version; BadInput otherwise."""
    if not isinstance(alias, str) or not _ALIAS.fullmatch(alias) or _RESERVED_ALIAS.fullmatch(alias):
        raise BadInput(
            f"{alias!r} cannot be an alias: use letters, digits, '_' and '-'; "
            "'latest' and 'v' with a number are reserved by MLflow."
        )
    if alias.isdecimal():  # MLflow takes it, but in `promote NAME 3` it is the version
        raise BadInput(f"{alias!r} cannot be an alias: it is a version's number; use a word, such as 'champion'.")
    return alias


def version_or_alias(given: object) -> str:
    """Return what names a version as a text: a number, 'latest', or an alias, of digits alone with '@' in front.

    >>> version_or_alias(2), version_or_alias("@champion"), version_or_alias("@2")
    ('2', 'champion', '@2')
    """
    is_number = isinstance(given, Integral) and not isinstance(given, bool) and int(given) >= 0
    text = str(given) if is_number or isinstance(given, str) else ""
    name = text.removeprefix("@")
    if _VERSION_WITH_V.fullmatch(name):
        raise BadInput(f"{given!r} names no version: write {name[1:]}, the number alone.")
    if not _ALIAS.fullmatch(name):
        raise BadInput(f"{given!r} names no version: give its number, such as 2, or an alias, such as 'champion'.")
    return text if name.isdecimal() else name


def artifact_name(text: str) -> str:
    """Make a user's text a file name that every artifact store keeps as it is: one path part, nothing special.

    >>> artifact_name("a#b %41?.txt")
    'a_b _41_.txt'
    """
    name = _UNSAFE_IN_ARTIFACT.sub("_", text).strip()
    if not name.strip("."):
        raise PathEscape(f"{text!r} cannot name an artifact: nothing is left of it but dots.")
    return name[:200]

"""From evaluations and what each model gave for each sample to a `Comparison`; no MLflow, no model."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mlflow_pt_eval.comparison.result import Comparison
from mlflow_pt_eval.comparison.sides import Against, Change, ClassChange, Flip, MetricDifference, Side
from mlflow_pt_eval.errors import BadInput
from mlflow_pt_eval.metrics import flips, mcnemar, paired_difference, recall_changes
from mlflow_pt_eval.tracking.sample_outputs import SampleOutputs, require_same_samples
from mlflow_pt_eval.wording import class_difference

_log = logging.getLogger("mlflow_pt_eval")

# Compared where both evaluations have them; above 100 classes those that need all probabilities are left out.
METRICS = (
    *("accuracy", "balanced_accuracy", "f1", "f1_macro", "matthews_corrcoef", "roc_auc", "roc_auc_macro"),
    *("average_precision", "average_precision_macro", "log_loss", "brier_score", "hamming_loss", "loss"),
)
NEED_SCORES = frozenset(key for key in METRICS if key.startswith(("roc_", "average_", "log_", "brier_")))


@dataclass(frozen=True, eq=False)
class Entry:
    """A version with what it gave for each sample."""

    side: Side
    outputs: SampleOutputs


def compare_entries(entries: Sequence[Entry], baseline: Entry, *, resamples: int = 1000) -> Comparison:
    """Compare every entry with *baseline*, which is one of them; BadInput unless all are of the same samples.

    *resamples* are those of the paired bootstrap.
    """
    require_same_samples([baseline.outputs, *(entry.outputs for entry in entries)])
    first = baseline.side.evaluation
    others = [entry for entry in entries if entry is not baseline]
    warnings = tuple(text for entry in others if (text := _classes_differ(entry, baseline)) is not None)
    for text in warnings:
        _log.warning(text)
    if first.dataset_digest is None:
        raise BadInput(f"the evaluation of {baseline.side.uri} has no digest of its data; evaluate it again.")
    return Comparison(
        split=first.split,
        dataset_digest=first.dataset_digest,
        dataset_name=first.dataset_name,
        n_samples=first.n_samples,
        baseline=baseline.side.uri,
        sides=tuple(entry.side for entry in entries),
        against=tuple(_against(entry, baseline, resamples) for entry in others),
        warnings=warnings,
    )


def _classes_differ(entry: Entry, baseline: Entry) -> str | None:
    new, old = entry.side, baseline.side
    found = class_difference(*([row.name for row in side.evaluation.per_class] for side in (new, old)))
    return found and (
        f"{new.uri} and the baseline {old.uri} name their classes differently ({found}): all that is said of both "
        "goes by the classes' numbers, and their recalls are not set side by side."
    )


def _against(entry: Entry, baseline: Entry, resamples: int) -> Against:
    new, old = entry.outputs, baseline.outputs
    return Against(
        uri=entry.side.uri,
        version=entry.side.version,
        differences=tuple(_differences(entry, baseline, resamples)),
        mcnemar=mcnemar(new.labels, new.predictions, old.predictions),
        classes=_class_changes(entry, baseline),
        flips=tuple(_flips(new, old)),
    )


def _differences(entry: Entry, baseline: Entry, resamples: int) -> Iterator[MetricDifference]:
    new, old = entry.outputs, baseline.outputs
    for metric in filter(lambda metric: _comparable(metric, entry, baseline), METRICS):
        try:
            found = paired_difference(
                metric, new.labels, new.for_metric(metric), old.for_metric(metric), resamples=resamples
            )
        except BadInput as error:  # undefined in the resamples, such as an AUC of a class with one sample
            _log.warning("%s against %s: %s", entry.side.uri, baseline.side.uri, error)
        else:
            yield MetricDifference(metric=metric, difference=found.difference, low=found.low, high=found.high)


def _comparable(metric: str, entry: Entry, baseline: Entry) -> bool:
    """Say whether both evaluations have the metric and what it was computed from is stored for both."""
    if any(metric not in each.side.evaluation.metrics for each in (entry, baseline)):
        return False
    if metric in NEED_SCORES:
        return entry.outputs.scores is not None and baseline.outputs.scores is not None
    return metric != "loss" or (entry.outputs.losses is not None and baseline.outputs.losses is not None)


def _class_changes(entry: Entry, baseline: Entry) -> tuple[ClassChange, ...]:
    new, old = entry.side.evaluation.per_class, baseline.side.evaluation.per_class
    if class_difference([row.name for row in new], [row.name for row in old]) is not None:
        return ()  # models with other classes have no class in common for certain
    changes = recall_changes(
        entry.outputs.labels, entry.outputs.predictions, baseline.outputs.predictions, classes=len(new)
    )
    return tuple(
        ClassChange(name=row.name, baseline=before.recall, version=row.recall, change=float(change))
        for row, before, change in zip(new, old, changes, strict=True)
    )


def _flips(new: SampleOutputs, old: SampleOutputs) -> Iterator[Flip]:
    found = flips(new.labels, new.predictions, old.predictions)
    kinds: tuple[tuple[Change, npt.NDArray[Any]], ...] = (
        ("right to wrong", found.right_to_wrong),
        ("wrong to right", found.wrong_to_right),
    )
    for change, places in kinds:
        for place in places:
            index = new.index[place]
            yield Flip(
                index=index.item() if isinstance(index, np.generic) else str(index),
                change=change,
                label=_named(new.class_names, new.labels[place]),
                baseline=_named(old.class_names, old.predictions[place]),
                version=_named(new.class_names, new.predictions[place]),
            )


def _named(names: Sequence[str], what: Any) -> str:
    """Name a class, or the labels that are set."""
    if np.ndim(what) == 0:
        return names[int(what)]
    return ", ".join(names[int(place)] for place in np.flatnonzero(what)) or "none"

"""`Comparison`: what a comparison found, as frozen data; its tables and figures are functions of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import pandas as pd

from mlflow_pt_eval.comparison.sides import Against, Side
from mlflow_pt_eval.metrics import Evaluation
from mlflow_pt_eval.records import encode_metrics
from mlflow_pt_eval.wording import listed

# In the short table, in this order, where the evaluations have them.
SHOWN = ("accuracy", "f1", "f1_macro", "roc_auc", "roc_auc_macro", "log_loss")
NAMED: Final = 4  # versions that a comparison is called by
ROWS: Final = 20  # versions that it shows of itself


@dataclass(frozen=True, kw_only=True, eq=False)
class Comparison:
    """Several versions on one data set, and each but the baseline against the baseline.

    Intervals and p-values hold each for itself: they are not corrected for the number of comparisons.
    `run_id` is the MLflow run that holds it, None where it was not logged. `warnings` say what makes it doubtful.
    """

    split: str
    dataset_digest: str
    dataset_name: str | None
    n_samples: int
    baseline: str
    sides: tuple[Side, ...]
    against: tuple[Against, ...]
    run_id: str | None = None
    warnings: tuple[str, ...] = ()

    def __repr__(self) -> str:
        """Return what the command line prints, under a heading: a notebook shows this."""
        from mlflow_pt_eval.comparison.words import summary  # of a Comparison: a circle otherwise

        head = f"Comparison of {listed([side.label for side in self.sides], NAMED)}"
        said = [f"warnings: {len(self.warnings)}"] if self.warnings else []
        return "\n".join([head, summary(self, most=ROWS), *said])

    @property
    def evaluations(self) -> Mapping[str, Evaluation]:
        """The evaluations by the labels that figures use."""
        return {side.label: side.evaluation for side in self.sides}

    def frame(self, *, full: bool = False) -> pd.DataFrame:
        """Return one row a version: its main metrics, its accuracy's difference to the baseline from `low` to `high`
        (the 95 % interval), the p-value of McNemar's test and how many samples flipped.

        With *full* every metric, and every difference with its interval.
        """
        several = len({side.name for side in self.sides}) > 1
        frame = pd.DataFrame([self._row(side, several, full) for side in self.sides])
        return frame.astype({"right_to_wrong": "Int64", "wrong_to_right": "Int64"})

    def differences(self) -> pd.DataFrame:
        """Return one row a version and metric: `difference`, `low`, `high`, `verdict`."""
        rows = [
            {"uri": one.uri, "version": one.version, **vars(found), "verdict": found.verdict}
            for one in self.against
            for found in one.differences
        ]
        return pd.DataFrame(rows, columns=["uri", "version", "metric", "difference", "low", "high", "verdict"])

    def classes(self) -> pd.DataFrame:
        """Return one row a version and class: its recall before (the baseline's), after, and the change."""
        rows = [
            {
                "uri": one.uri,
                "version": one.version,
                "class": found.name,
                "baseline_recall": found.baseline,
                "recall": found.version,
                "change": found.change,
            }
            for one in self.against
            for found in one.classes
        ]
        return pd.DataFrame(rows, columns=["uri", "version", "class", "baseline_recall", "recall", "change"])

    def flips(self) -> pd.DataFrame:
        """Return one row a version and sample that flipped: `change` is 'right to wrong' or 'wrong to right'."""
        rows = [
            {
                "uri": one.uri,
                "version": one.version,
                "index": flip.index,
                "change": flip.change,
                "label": flip.label,
                "baseline_prediction": flip.baseline,
                "prediction": flip.version,
            }
            for one in self.against
            for flip in one.flips
        ]
        columns = ["uri", "version", "index", "change", "label", "baseline_prediction", "prediction"]
        return pd.DataFrame(rows, columns=columns)

    def to_json(self) -> dict[str, Any]:
        """Return plain data for strict JSON: everything but the evaluations' curves; non-finite values as strings."""
        head = ("split", "dataset_digest", "dataset_name", "n_samples", "baseline", "run_id")
        return {
            **{key: getattr(self, key) for key in head},
            "warnings": list(self.warnings),
            "versions": [
                {
                    "uri": side.uri,
                    "version": side.version,
                    "aliases": list(side.aliases),
                    "evaluation_run_id": side.evaluation_run_id,
                    "metrics": encode_metrics(side.evaluation.metrics),
                }
                for side in self.sides
            ],
            "against_baseline": [_against_json(one) for one in self.against],
        }

    def _row(self, side: Side, several: bool, full: bool) -> dict[str, Any]:
        metrics = side.evaluation.metrics
        keys = list(metrics) if full else [key for key in SHOWN if key in metrics]
        one = next((one for one in self.against if one.uri == side.uri), None)
        return {
            **({"name": side.name} if several else {}),
            "version": side.version,
            "aliases": list(side.aliases),
            **{key: metrics[key] for key in keys},
            **dict(_difference_cells(self.against, one, full)),
            "mcnemar_p": None if one is None else one.mcnemar.p_value,
            "right_to_wrong": None if one is None else one.mcnemar.only_baseline,
            "wrong_to_right": None if one is None else one.mcnemar.only_candidate,
        }


def _difference_cells(
    every: tuple[Against, ...], one: Against | None, full: bool
) -> Iterator[tuple[str, float | None]]:
    """Give the cells of a row's differences, empty ones for the baseline; the short table has one difference only."""
    metrics = dict.fromkeys(found.metric for other in every for found in other.differences)
    for metric in metrics if full else [key for key in metrics if key == "accuracy"]:
        found = None if one is None else one.difference(metric)
        prefix = f"{metric}_difference_" if full else ""
        yield f"{metric}_difference", None if found is None else found.difference
        yield f"{prefix}low", None if found is None else found.low
        yield f"{prefix}high", None if found is None else found.high


def _against_json(one: Against) -> dict[str, Any]:
    return {
        "uri": one.uri,
        "version": one.version,
        "differences": [{**vars(found), "verdict": found.verdict} for found in one.differences],
        "mcnemar": vars(one.mcnemar),
        "classes": [{**vars(c), **encode_metrics({"change": c.change})} for c in one.classes],
        "flips": [vars(flip) for flip in one.flips],
    }

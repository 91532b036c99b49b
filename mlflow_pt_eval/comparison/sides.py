"""What is known of one version in a comparison: its own evaluation, and how it stands against the baseline."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mlflow_pt_eval.metrics import Evaluation, McNemar
from mlflow_pt_eval.names import direction

Verdict = Literal["better", "worse", "unclear"]
Change = Literal["right to wrong", "wrong to right"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Side:
    """One of the versions compared, with the evaluation that speaks for it."""

    name: str
    version: int
    aliases: tuple[str, ...]
    evaluation_run_id: str
    evaluation: Evaluation

    @property
    def uri(self) -> str:
        """The version's URI."""
        return f"models:/{self.name}/{self.version}"

    @property
    def label(self) -> str:
        """What figures call it: `digits 3 @champion`."""
        return " ".join([self.name, str(self.version), *(f"@{alias}" for alias in self.aliases)])


@dataclass(frozen=True, kw_only=True)
class MetricDifference:
    """A metric, version minus baseline, with the 95 % interval of a paired bootstrap over the samples."""

    metric: str
    difference: float
    low: float
    high: float

    @property
    def verdict(self) -> Verdict:
        """Whether the interval lies wholly on the better or on the worse side of 0, in the metric's own direction."""
        low, high = (self.low, self.high) if direction(self.metric) == "max" else (-self.high, -self.low)
        return "better" if low > 0 else "worse" if high < 0 else "unclear"


@dataclass(frozen=True, kw_only=True)
class ClassChange:
    """A class's recall: the baseline's, the version's and the change; `change` is NaN for a class without samples."""

    name: str
    baseline: float
    version: float
    change: float


@dataclass(frozen=True, kw_only=True)
class Flip:
    """A sample that one has right and the other wrong: its index in the data, its label and both predictions."""

    index: int | str
    change: Change
    label: str
    baseline: str
    version: str


@dataclass(frozen=True, kw_only=True)
class Against:
    """One version against the baseline, on the same samples. `p_value` is that of McNemar's test."""

    uri: str
    version: int
    differences: tuple[MetricDifference, ...]
    mcnemar: McNemar
    classes: tuple[ClassChange, ...]
    flips: tuple[Flip, ...]

    def difference(self, metric: str) -> MetricDifference | None:
        """Return the difference of one metric, None where it was not computed."""
        return next((found for found in self.differences if found.metric == metric), None)

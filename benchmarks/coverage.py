"""How often the 95 % intervals hold the truth, by simulation: data sets from a known population, one evaluation each.

The population's own values come from a sample of two million. Beside each share of intervals that hold it stand the
shares that chance alone would give an exact 95 % (in 99 of 100 simulations), the intervals' mean width, and how many
data sets had none (too few samples, or nothing wrong). `paired` rows are of differences between two models, one of
them worse.

    python benchmarks/coverage.py                   400 data sets each (100 of the largest), some twenty minutes
    python benchmarks/coverage.py --runs 4000
    python benchmarks/coverage.py --only 9          1,000 classes, less than ten minutes
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mlflow_pt_eval.errors import BadInput
from mlflow_pt_eval.metrics import counts, estimators, evaluate_scores, paired_difference, resampling
from mlflow_pt_eval.names import Task

Array = npt.NDArray[Any]
WHOLE = 2_000_000


@dataclass(frozen=True)
class Population:
    """Where data sets come from: so many classes, the k-th of a share in proportion to k ** -slope, this far apart.

    *costly* ones are resampled as an evaluation does, which draws their linear parts, and a quarter as often; of the
    others all resamples are exact unless told otherwise.
    """

    name: str
    samples: int
    classes: int
    apart: float = 1.5
    slope: float = 0.0
    costly: bool = False

    @property
    def task(self) -> Task:
        """Two classes are a binary task."""
        return "binary" if self.classes == 2 else "multiclass"

    @property
    def keys(self) -> Sequence[str]:
        """The metrics that have intervals."""
        return "accuracy", "f1_macro", "roc_auc" if self.classes == 2 else "roc_auc_macro"

    def draw(self, rng: np.random.Generator, samples: int) -> tuple[Array, Array, Array]:
        """Return labels and two models' scores, the second one's with more noise."""
        shares = 1 / np.arange(1, self.classes + 1) ** self.slope
        labels = rng.choice(self.classes, samples, p=shares / shares.sum())
        logits = rng.standard_normal((samples, self.classes), dtype=np.float32)
        logits[np.arange(samples), labels] += self.apart
        return labels, softmax(logits), softmax(logits + rng.standard_normal(logits.shape, dtype=np.float32) / 2)


POPULATIONS = (
    Population("binary, 100 samples", 100, 2),
    Population("binary, 1,000 samples", 1000, 2),
    Population("binary, 300 samples, 1 in 4 positive", 300, 2, slope=1.5),
    Population("binary, 500 samples, 1 in 50 positive", 500, 2, slope=5.6),
    Population("5 classes, 300 samples", 300, 5),
    Population("10 uneven classes, 2,000 samples", 2000, 10, slope=1.5),
    Population("50 classes, 20 samples each", 1000, 50, apart=3),
    Population("100 classes, 10 samples each", 1000, 100, apart=3),
    Population("100 uneven classes, 1,500 samples", 1500, 100, apart=3, slope=1.2),
    Population("1,000 classes, 20 samples each", 20_000, 1000, apart=4, costly=True),
)


def softmax(logits: Array) -> Array:
    """Turn logits into probabilities."""
    exponents = logits - logits.max(axis=1, keepdims=True)
    np.exp(exponents, out=exponents)
    exponents /= exponents.sum(axis=1, keepdims=True)
    return np.asarray(exponents)


def truth(population: Population, rng: np.random.Generator) -> tuple[Mapping[str, float], Mapping[str, float]]:
    """Return both models' metrics in the population: accuracy and F1 of all counts, the mean of unbiased AUCs."""
    confusions: list[Array] = [np.zeros((population.classes,) * 2, np.int64) for _ in range(2)]
    areas: list[list[float]] = [[], []]
    size = WHOLE // 10 // max(1, population.classes // 50)
    for _ in range(max(10, WHOLE // size)):
        labels, *models = population.draw(rng, size)
        for place, scores in enumerate(models):
            found = evaluate_scores(labels, scores, task=population.task, bootstrap=0, curves=False)
            confusions[place] += found.confusion
            areas[place].append(found.metrics[population.keys[2]])
    one, other = (
        {**counts.metrics(counts.margins(each), counts.ONE_CLASS), population.keys[2]: float(np.mean(area))}
        for each, area in zip(confusions, areas, strict=True)
    )
    return one, other


def simulate(population: Population, runs: int, *, linear: bool) -> None:
    """Print a line for each metric and each difference."""
    rng = np.random.default_rng(1)
    runs = runs // 4 if population.costly else runs
    affordable = resampling.LARGEST_WORK if population.costly else 10**15
    estimators.LARGEST_WORK = 0 if linear else affordable
    one, other = truth(population, rng)
    held: dict[str, list[tuple[bool, float]]] = {}
    for seed in range(runs):
        labels, good, bad = population.draw(rng, population.samples)
        found = evaluate_scores(labels, good, task=population.task, seed=seed, curves=False)
        for key in population.keys:
            if key in found.intervals:
                note(held, key, found.intervals[key], one[key])
            with suppress(BadInput):  # of too few samples
                _, *ends = paired_difference(key, labels, good, bad, seed=seed)
                note(held, f"paired {key}", ends, one[key] - other[key])
    for name, rows in held.items():
        share, width = np.mean(rows, axis=0)
        spread = 2.58 * np.sqrt(0.95 * 0.05 / len(rows))
        expected = f"{max(0, 0.95 - spread):.3f} … {min(1, 0.95 + spread):.3f}"
        print(
            f"{population.name:38} {name:22} {share:.3f} ({expected})   width {width:.3f}   none {runs - len(rows)}",
            flush=True,
        )


def note(held: dict[str, list[tuple[bool, float]]], name: str, ends: Sequence[float], value: float) -> None:
    """Note of an interval whether it holds the *value*, and its width."""
    low, high = ends
    held.setdefault(name, []).append((low <= value <= high, high - low))


def main() -> None:
    """Parse the arguments and run the simulations."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=400, help="data sets of each population")
    parser.add_argument("--linear", action="store_true", help="by the linear parts, as data sets too large are")
    parser.add_argument("--only", type=int, help="one population, by its place")
    options = parser.parse_args()
    for population in POPULATIONS if options.only is None else POPULATIONS[options.only : options.only + 1]:
        simulate(population, options.runs, linear=options.linear)


if __name__ == "__main__":
    main()

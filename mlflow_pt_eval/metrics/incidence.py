"""Label metrics of weighted samples: who is of which class and predicted as which, as sparse matrices of ones."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array, csr_array

from mlflow_pt_eval.metrics.blocks import cut
from mlflow_pt_eval.metrics.counts import Margins, Statistic
from mlflow_pt_eval.metrics.groups import Ints
from mlflow_pt_eval.metrics.inputs import Mask
from mlflow_pt_eval.metrics.resampling import draw_work
from mlflow_pt_eval.metrics.result import Floats

STEP = 1e-4  # of one sample, for derivatives
CLASS_WORK = 20
Part = Literal["hits", "support", "predicted"]


@dataclass(frozen=True, eq=False)
class Incidence:
    """Sparse (K, M): which of M atoms are rightly predicted as, of, and predicted as each class; *counts* of each."""

    hits: csr_array
    support: csr_array
    predicted: csr_array
    counts: Ints
    every: bool

    @property
    def work(self) -> int:
        """The steps that one resample takes: the drawing, three products, a statistic of what they give."""
        classes, _ = self.hits.shape
        return draw_work(self.counts) + self.hits.nnz + self.support.nnz + self.predicted.nnz + CLASS_WORK * classes

    def margins(self, weights: npt.NDArray[np.floating[Any]]) -> Margins:
        """Return the counts (r, K) of each weighting of the atoms (M, r), or (K,) of one (M,)."""
        hits, support, predicted = ((part @ weights).T for part in (self.hits, self.support, self.predicted))
        return Margins(hits, support, predicted, every=self.every)

    def whole(self) -> Margins:
        """Return the counts (K,) of the data as they are."""
        return self.margins(self.counts.astype(np.float64))

    def influence(self, statistic: Statistic) -> Floats:
        """Return what one more of each atom adds to *statistic*, (M,), less the mean: its linear part."""
        whole = self.whole()
        added = _slopes(whole, "hits", statistic) @ self.hits
        added += _slopes(whole, "support", statistic) @ self.support
        added += _slopes(whole, "predicted", statistic) @ self.predicted
        return np.asarray(added - added @ self.counts / self.counts.sum())


def of_cells(truth: Ints, guess: Ints, counts: Ints, *, classes: int) -> Incidence:
    """Return the incidence of atoms that are (true class, predicted class) pairs, (M,) each."""
    atoms, shape = np.arange(len(counts)), (classes, len(counts))
    right = np.flatnonzero(truth == guess)
    hits = _ones(truth[right], right, shape)
    return Incidence(hits, _ones(truth, atoms, shape), _ones(guess, atoms, shape), counts, every=False)


def of_confusion(confusion: Ints) -> Incidence:
    """Return the incidence of a confusion matrix (K, K): its cells that are not empty."""
    truth, guess = np.nonzero(confusion)
    return of_cells(truth, guess, confusion[truth, guess], classes=len(confusion))


def of_pairs(truth: Ints, guess: Ints, other: Ints) -> tuple[Incidence, Incidence]:
    """Return two models' incidences of the same atoms: the triples of true class and predictions that occur."""
    classes = max(2, 1 + int(max(truth.max(), guess.max(), other.max())))  # class 1 has metrics, also unseen
    codes, counts = np.unique((truth * classes + guess) * classes + other, return_counts=True)
    pairs, theirs = np.divmod(codes, classes)
    rows, ours = np.divmod(pairs, classes)
    return of_cells(rows, ours, counts, classes=classes), of_cells(rows, theirs, counts, classes=classes)


def of_indicators(truth: Mask, guess: Mask) -> Incidence:
    """Return the incidence of a multilabel task, indicators (N, K): each sample is an atom."""
    hits, support, predicted = (_marked(marks) for marks in (truth & guess, truth, guess))
    return Incidence(hits, support, predicted, np.ones(len(truth), np.int64), every=True)


def _marked(marks: Mask) -> csr_array:
    rows, columns = np.nonzero(marks.T)
    return _ones(rows, columns, marks.T.shape)


def _ones(rows: Ints, columns: Ints, shape: tuple[int, ...]) -> csr_array:
    return coo_array((np.ones(len(rows)), (rows, columns)), shape=shape).tocsr()


def _slopes(of: Margins, part: Part, statistic: Statistic) -> Floats:
    """Differentiate by each class's count, (K,): only where there is one, elsewhere no sample could change it."""
    base = getattr(of, part)
    slopes = np.zeros(len(base))
    places = np.flatnonzero(base)
    for low, high in cut(len(places), 64):
        moved = places[low:high]
        step = np.zeros((len(moved), len(base)))
        step[np.arange(len(moved)), moved] = STEP
        up, down = (statistic(replace(of, **{part: base + sign * step})) for sign in (1, -1))
        slopes[moved] = (up - down) / (2 * STEP)
    return slopes

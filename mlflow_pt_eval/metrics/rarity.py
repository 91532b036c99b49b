"""How many samples the rarest classes have: what a bootstrap can tell of an average over classes goes by them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mlflow_pt_eval.metrics.groups import Ints

LEAST = 5  # samples of either side for an area
LEAST_AVERAGED = 3  # of the classes of an averaged area, by `seen`: the noise in it is less than that of one alone


def sides(support: Ints, samples: int) -> Ints:
    """Return how many of so many samples are of each class, *support* (K,), or are not, whatever is less."""
    return np.minimum(support, samples - support)


def too_few(rare: Ints) -> bool:
    """Say whether classes of such `sides` (K,) are too rare for an interval of an area."""
    return seen(rare) < (LEAST if len(rare) <= 2 else LEAST_AVERAGED)  # two classes have the same sides


def seen(sizes: npt.NDArray[np.integer]) -> float:
    """Return how many samples classes of *sizes* (K,) have, each as far as it makes the variance of their average.

    The bootstrap of m samples misses 1 / m of the variance of their mean, of one sample all of it. If the samples of
    all classes vary alike, each class has a share in proportion to 1 / m in the variance of the classes' average, and
    1 / (what this returns) of all is missed.
    """
    present = sizes[sizes > 0].astype(np.float64)
    return float((1 / present).sum() / (1 / present**2).sum()) if len(present) else 0.0

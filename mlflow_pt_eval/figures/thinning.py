"""Curves of millions of points cut to what a figure can show; what a figure says in numbers never comes from here."""

from __future__ import annotations

import numpy as np

from mlflow_pt_eval.metrics.result import Floats


def thin_envelope(x: Floats, y: Floats, cells: int = 1000) -> tuple[Floats, Floats]:
    """Replace the points in each of *cells* slices of an ascending *x* by the first, lowest, highest and last of them.

    For curves whose *y* jumps about, as precision does: its whole range stays visible in every slice.
    """
    if len(x) <= 4 * cells:
        return x, y
    starts = np.unique(np.searchsorted(x, np.linspace(0, 1, cells, endpoint=False)))
    starts = np.unique(np.concatenate([[0], starts[starts < len(x)]]))
    ends = np.append(starts[1:], len(x)) - 1
    low, high = np.minimum.reduceat(y, starts), np.maximum.reduceat(y, starts)
    across = np.stack([x[starts], x[starts], x[starts], x[ends]], axis=1)
    return across.ravel(), np.stack([y[starts], low, high, y[ends]], axis=1).ravel()


def as_steps(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Return the corners of the stairs on which each point's *y* holds since the point before it."""
    return x.repeat(2)[:-1], y.repeat(2)[1:]


def steps(x: Floats, y: Floats, at: Floats) -> Floats:
    """Return, at each of *at*, the *y* of the first point whose ascending *x* reaches it (the last one beyond)."""
    return y[np.minimum(np.searchsorted(x, at), len(x) - 1)]

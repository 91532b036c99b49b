"""What a pass over data must leave as it was: every random number generator, the loader's own among them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mlflow_pt_eval.state.generators import capture_generators, restore_generators
from mlflow_pt_eval.state.rng import preserved_rng


@contextmanager
def untouched(loader: Any) -> Iterator[None]:
    """Put back the random state of Python, NumPy and torch, and of *loader*'s private generators, after the block."""
    private = capture_generators(loader)
    with preserved_rng():
        try:
            yield
        finally:
            restore_generators(loader, private)

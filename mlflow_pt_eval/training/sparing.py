"""Work that is worth doing only while it costs next to nothing."""

from __future__ import annotations

import time
from collections.abc import Callable


class Sparing:
    """Lets something be done for as long as it takes at most *share* of the time."""

    def __init__(self, share: float = 0.02, clock: Callable[[], float] = time.monotonic) -> None:
        self._share, self._clock = share, clock
        self._next = -float("inf")

    def do(self, work: Callable[[], object]) -> None:
        """Do *work*, or leave it if it would take more than its share after what it took last."""
        began = self._clock()
        if began < self._next:
            return
        work()
        ended = self._clock()
        self._next = ended + (ended - began) / self._share

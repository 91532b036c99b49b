"""Where a training is killed: points drawn from the course that it took when nobody cut it."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

Place = Literal["batch", "body", "boundary"]
_TRIES = 50  # drawings of a further point before the training counts as used up


@dataclass(frozen=True)
class Span:
    """One epoch of the whole run: the steps done before and after it, and whether `run.batches` counted them."""

    epoch: int
    start: int
    end: int
    batches: bool


@dataclass(frozen=True)
class Course:
    """What the whole run did: its epochs, the steps at which it saved, and after which gradients were left over."""

    spans: tuple[Span, ...]
    saves: tuple[int, ...]
    accumulating: frozenset[int]

    @property
    def steps(self) -> int:
        """The steps that were done in all."""
        return self.spans[-1].end if self.spans else 0

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Course:
        """Read what a rehearsal has reported."""
        return cls(tuple(Span(**span) for span in data["spans"]), tuple(data["saves"]), frozenset(data["accumulating"]))


@dataclass(frozen=True, order=True)
class Stop:
    """A point to end a training at.

    `place`: after the boundary that follows a batch; at the end of an epoch's body, before it is committed; or after
    the commit at an epoch's boundary. `signal`: SIGKILL at once, or SIGTERM, after which the training ends by itself
    at its next boundary. `settled`: what was saved before is stored first; otherwise the writer is cut, too.
    """

    step: int
    epoch: int
    place: Place
    signal: Literal["SIGKILL", "SIGTERM"] = "SIGKILL"
    settled: bool = True
    batch: int = 0  # batches done in the epoch
    batches: int = 0  # that it has

    def to_json(self) -> dict[str, Any]:
        """Return plain data that `Stop(**data)` reads back."""
        return asdict(self)

    def __str__(self) -> str:
        """Say it as people read it."""
        verb = "killed" if self.signal == "SIGKILL" else "ended by SIGTERM"
        if self.place == "batch":
            return f"{verb} at step {self.step} (epoch {self.epoch}, batch {self.batch} of {self.batches})"
        where = "at" if self.place == "boundary" else "just before"
        return f"{verb} {where} the end of epoch {self.epoch} (step {self.step})"


def choose(course: Course, *, kills: int, seed: int) -> list[Stop]:
    """Return up to *kills* different points in the order of the training; the same *seed* gives the same ones.

    In this order of importance: inside an epoch with a checkpoint behind it; at the boundary where the first
    checkpoint was saved; inside an epoch by SIGTERM, which alone leaves a checkpoint there in most trainings; at
    another epoch's boundary; then anywhere, the writer cut in its work.
    """
    chosen: list[Stop] = []
    for stop in _candidates(course, random.Random(seed)):
        if len(chosen) == kills:
            break
        if all(replace(stop, settled=other.settled) != other for other in chosen):
            chosen.append(stop)
    return sorted(chosen)


def _candidates(course: Course, draw: random.Random) -> Iterator[Stop]:
    if not course.spans:
        return
    first = min(course.saves, default=0)
    later = [span for span in course.spans if span.start >= first] or list(course.spans)
    yield _inside(draw.choice(later), draw)
    yield _at_save(course, first)
    yield _by_sigterm(course, draw)
    yield _boundary(draw.choice(course.spans[:-1] or course.spans))
    for _ in range(_TRIES * len(course.spans)):
        span = draw.choice(course.spans)
        yield _inside(span, draw, settled=False) if draw.random() < 0.7 else _boundary(span, settled=False)


def _inside(span: Span, draw: random.Random, *, settled: bool = True) -> Stop:
    """Return a point between two batches of an epoch, or the end of its body if nothing counts batches there."""
    if not span.batches or span.end - span.start < 1:
        return Stop(span.end, span.epoch, "body", settled=settled)
    return _batch(span, draw.randint(span.start + 1, max(span.end - 1, span.start + 1)), settled=settled)


def _batch(span: Span, step: int, *, signal: Literal["SIGKILL", "SIGTERM"] = "SIGKILL", settled: bool = True) -> Stop:
    return Stop(step, span.epoch, "batch", signal, settled, step - span.start, span.end - span.start)


def _boundary(span: Span, *, settled: bool = True) -> Stop:
    return Stop(span.end, span.epoch, "boundary", settled=settled)


def _at_save(course: Course, step: int) -> Stop:
    span = next((span for span in course.spans if span.end >= step), course.spans[-1])
    return _batch(span, step) if span.start < step < span.end and span.batches else _boundary(span)


def _by_sigterm(course: Course, draw: random.Random) -> Stop:
    """Return a point after which the next boundary is inside the same epoch, and not between accumulated gradients."""
    fitting: Sequence[Stop] = ()
    for span in draw.sample(course.spans, len(course.spans)):
        steps = range(span.start + 1, span.end - 1) if span.batches else ()
        fitting = [_batch(span, s, signal="SIGTERM") for s in steps if s + 1 not in course.accumulating]
        if fitting:
            return draw.choice(fitting)
    span = draw.choice(course.spans)
    return Stop(span.end, span.epoch, "body", "SIGTERM")

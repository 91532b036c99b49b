"""Every error that this package raises: each is a `PtEvalError` and the builtin that fits it.

A message says what happened, what was there and what to do about it, in that order, on one line.
`exit_code` is what the command line ends with: 1 for "the answer is no", 2 for bad input,
3 for anything else.
"""

from __future__ import annotations

from typing import ClassVar, Final

_LONGEST_LINE: Final = 300  # characters of another's error


class PtEvalError(Exception):
    """The root: catch this to catch everything that the package raises on purpose."""

    exit_code: ClassVar[int] = 3


class BadInput(PtEvalError, ValueError):
    """An argument, a parameter, a data set or a file is not what it has to be."""

    exit_code = 2


class MetricNotLogged(BadInput):
    """Something monitors a metric that the loop never logged."""


class NotFound(BadInput, LookupError):
    """A run, a version, an alias, a checkpoint or a file that was named does not exist."""


class UnsafeFile(BadInput):
    """A file could only be read by executing a pickle, so it is not read."""


class PathEscape(BadInput):
    """A name or a source leads out of the folder that it belongs in."""


class StateMismatch(PtEvalError, RuntimeError):
    """A checkpoint and the live objects do not hold the same parts."""


class CheckpointDamaged(PtEvalError, RuntimeError):
    """Checkpoints exist, but what was asked for cannot be read whole."""

    exit_code = 1


class WeightsMismatch(StateMismatch, BadInput):
    """The weights in a file that was named are not those of the module that they are to be loaded into."""


class StorageFailed(PtEvalError, OSError):
    """A local or remote store refused a write, a read or a delete: full, read-only, not permitted."""


class StoreUnavailable(PtEvalError, ConnectionError):
    """The tracking server cannot be reached, and something could not be sent or read because of it."""


class StoreBroken(PtEvalError, RuntimeError):
    """A tracking store exists but its schema is half-made."""


class RunConflict(PtEvalError, RuntimeError):
    """Another process works on the same run, or has taken it over."""


class RegistrationFailed(PtEvalError, RuntimeError):
    """A model could not be published, or did not prove itself when it was loaded back."""


class PromotionConflict(PtEvalError, RuntimeError):
    """An alias moved while a promotion was being decided; nothing was overwritten."""


class RankFailed(PtEvalError, RuntimeError):
    """A process of a distributed training is gone or did not answer in time."""


class Interrupted(BaseException):
    """A signal asks the training to end; raised on the main thread, never swallowed by `except Exception`.

    `signum` is the signal's number, so that the process can end with status 128 + signum.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(f"interrupted by signal {signum}")
        self.signum = signum


def first_line(error: BaseException) -> str:
    """Return the first line of what *error* says, cut at a word; its kind where it says nothing."""
    lines = str(error).strip().splitlines()
    line = lines[0] if lines else type(error).__name__
    if len(line) <= _LONGEST_LINE:
        return line
    cut = line[:_LONGEST_LINE]
    return f"{cut.rpartition(' ')[0] or cut} …"


def with_kind(error: BaseException) -> str:
    """Return *error*'s kind and the first line of what it says.

    >>> with_kind(KeyError("x")), with_kind(ValueError())
    ("KeyError: 'x'", 'ValueError')
    """
    kind, said = type(error).__name__, first_line(error)
    return kind if said == kind else f"{kind}: {said}"

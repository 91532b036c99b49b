"""The ledger of an alias: every move that this package made, oldest first, and where a rollback leads from here.

Pure data; `tracking.aliases` keeps it in a tag of the registered model.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from types import NoneType
from typing import Any, Final, Literal, get_args

from mlflow_pt_eval.errors import BadInput

# MLflow's client lets a longer tag through, but the column of a registered model's tag holds 5,000 characters.
MAX_CHARACTERS = 4_500

Action = Literal["promote", "rollback"]
_TYPES: Final[Mapping[str, set[type]]] = {
    "before": {int, NoneType},
    "after": {int},
    "at": {str},
    "by": {str},
    "run_id": {str, NoneType},
}


@dataclass(frozen=True, kw_only=True)
class Move:
    """One move of an alias: *before* is the version that it pointed to (None: to none), *after* the one since then.

    *run_id* is the run that holds the evidence; *at* is a UTC time in ISO form.
    """

    action: Action
    before: int | None
    after: int
    at: str
    by: str
    run_id: str | None = None


def encode(moves: Sequence[Move], limit: int = MAX_CHARACTERS) -> str:
    """Write the newest moves that fit into *limit* characters; the oldest go first, the newest always stays."""
    kept = list(moves)
    while len(text := _dump(kept)) > limit and len(kept) > 1:
        del kept[0]
    return text


def decode(text: str | None) -> tuple[Move, ...]:
    """Read what `encode` wrote; BadInput for a text that someone else has changed."""
    try:
        return tuple(_move(entry) for entry in json.loads(text or "[]"))
    except (ValueError, TypeError) as error:
        raise BadInput(f"the alias's ledger cannot be read ({error}).") from error


def earlier(moves: Sequence[Move], current: int | None) -> list[int]:
    """Return the versions that a rollback may lead to, nearest first.

    A promotion goes one step on, a rollback goes back to where it led: what it left is not come back to by another
    rollback, so that two in a row walk back two steps. A move made outside of this package counts as a step, too.

    >>> move = {"at": "", "by": ""}
    >>> moves = [Move(action="promote", before=1, after=2, **move), Move(action="promote", before=2, after=3, **move)]
    >>> earlier(moves, current=3)
    [2, 1]
    """
    path: list[int] = []
    for move in moves:
        if move.before is not None and path[-1:] != [move.before]:
            path.append(move.before)  # the first entry, or moved by something else in between
        if move.action == "rollback":
            path = _back_to(path, move.after)
        else:
            path.append(move.after)
    return list(dict.fromkeys(version for version in reversed(path) if version != current))


def _back_to(path: list[int], version: int) -> list[int]:
    while path and path[-1] != version:
        path.pop()
    return path or [version]


def _move(entry: Any) -> Move:
    move = Move(**entry)
    for key, value in vars(move).items():
        fits = value in get_args(Action) if key == "action" else type(value) in _TYPES[key]
        if not fits:
            raise TypeError(f"{key} is {value!r}")
    return move


def _dump(moves: Sequence[Move]) -> str:
    return json.dumps([asdict(move) for move in moves], separators=(",", ":"))

"""Moving an alias so that nobody's move is lost: a claim, a compare-and-set under it, and the ledger.

MLflow has no compare-and-set; the last writer wins. What it has is tags that are set one by one, each under a key of
its own. So whoever moves an alias first sets a *claim* (a tag of the registered model with a random key), and only
then reads the other claims. Of two that overlap at least one sees the other: the one with the larger key withdraws
(PromotionConflict), the one with the smaller waits for it to be gone. Under its claim a process compares the alias
with what the decision was made against, sets it, reads it back and notes the move in the ledger.

What is left open: MLflow itself and its UI know nothing of claims. A move of theirs before our comparison is a
PromotionConflict, and one after our setting is found by the reading back; one in the milliseconds between comparing
and setting is overwritten. A claim counts for ten minutes by its maker's clock, so that a process that was killed in
the middle does not block the alias for ever.
"""

from __future__ import annotations

import json
import logging
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from mlflow_pt_eval.errors import BadInput, PromotionConflict, StoreUnavailable
from mlflow_pt_eval.ledger import Move, decode, encode
from mlflow_pt_eval.names import TAG_ALIAS_CLAIM_PREFIX, TAG_ALIAS_LEDGER_PREFIX, check_alias
from mlflow_pt_eval.tracking.registry import get_alias, model_tags, set_alias
from mlflow_pt_eval.tracking.store import Store, unavailable

_log = logging.getLogger("mlflow_pt_eval")

CLAIM_SECONDS = 600  # after this a claim is one that nobody cleared away
_TURN_SECONDS = 30  # to wait for another process's move, which takes a few calls
_POLL_SECONDS = 0.1
_LONGEST_KEY = 250  # of a registered model's tag


def check_movable(alias: str) -> str:
    """Return *alias* if it can be moved with a ledger: the tags that go with it hold its name."""
    room = _LONGEST_KEY - len(TAG_ALIAS_CLAIM_PREFIX) - 33
    if len(check_alias(alias)) > room:
        raise BadInput(f"the alias {alias[:40]!r}… is too long to be promoted to; use at most {room} characters.")
    return alias


def read_ledger(store: Store, name: str, alias: str) -> tuple[Move, ...]:
    """Return the moves of *alias* that are still noted, oldest first; NotFound if there is no such model."""
    key = f"{TAG_ALIAS_LEDGER_PREFIX}{alias}"
    text = model_tags(store, name).get(key)
    try:
        return decode(text)
    except BadInput as error:
        raise BadInput(
            f"{error} It stands in the tag {key!r} of the registered model {name!r}: "
            "mend the tag, or delete it to begin a new ledger."
        ) from error


def move_alias(store: Store, name: str, alias: str, move: Move) -> None:
    """Move *alias* from `move.before` to `move.after` and note it in the ledger.

    PromotionConflict, and nothing is overwritten, if it does not point to `move.before` any more or if another
    process is moving it at this moment. StoreUnavailable, saying so, where the store went away in the middle.
    """
    with claimed(store, name, alias, by=move.by):
        moves = read_ledger(store, name, alias)
        _expect(store, name, alias, move.before, "while this was being decided; look at what it is now and decide anew")
        with _half_done(store, name, alias, move):
            set_alias(store, name, alias, move.after)
            _expect(store, name, alias, move.after, "right after it was set, by something that knows no ledger")
            store.client.set_registered_model_tag(name, f"{TAG_ALIAS_LEDGER_PREFIX}{alias}", encode([*moves, move]))


@contextmanager
def claimed(
    store: Store,
    name: str,
    alias: str,
    *,
    by: str,
    clock: Callable[[], float] = time.time,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[None]:
    """Hold the right to move *alias* while the block runs; PromotionConflict if another process has it.

    *clock* gives seconds since 1970; *sleep* waits for another process whose turn it is.
    """
    key = f"{TAG_ALIAS_CLAIM_PREFIX}{check_movable(alias)}.{uuid.uuid4().hex}"
    claim = json.dumps({"at": clock(), "by": by})
    store.client.set_registered_model_tag(name, key, claim)
    try:
        _await_turn(store, name, key, clock, sleep)
        yield
    finally:
        _clear(store, name, key)


@contextmanager
def _half_done(store: Store, name: str, alias: str, move: Move) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if not unavailable(error):
            raise
        raise StoreUnavailable(
            f"{store.shown} went away while the alias {alias!r} of {name!r} was being moved to {_shown(move.after)}: "
            "it may have moved, without a line in its ledger. "
            f"Look with `mlflow-pt-eval versions {name}` when the store is back."
        ) from error


def _clear(store: Store, name: str, key: str) -> None:
    try:
        store.client.delete_registered_model_tag(name, key)
    except Exception as error:  # whatever is under way is more important, and the claim ends by itself
        _log.warning("the claim %s of %s stays for %d minutes: %s", key, name, CLAIM_SECONDS // 60, error)


def _await_turn(store: Store, name: str, own: str, clock: Callable[[], float], sleep: Callable[[float], None]) -> None:
    prefix, waited = own.rpartition(".")[0] + ".", 0.0
    while others := _claims(store, name, prefix, own, clock()):
        first = min(others)
        if first < own or waited >= _TURN_SECONDS:
            raise PromotionConflict(
                f"the alias {prefix.removeprefix(TAG_ALIAS_CLAIM_PREFIX)[:-1]!r} of {name!r} is being moved by "
                f"{others[first]}; nothing was changed. Look at the outcome and try again; if that process is dead, "
                f"delete the tag {first!r} of the registered model, or wait {CLAIM_SECONDS // 60} minutes."
            )
        sleep(_POLL_SECONDS)
        waited += _POLL_SECONDS


def _claims(store: Store, name: str, prefix: str, own: str, now: float) -> dict[str, str]:
    """Return the other live claims and who holds them; those that nobody cleared away are deleted."""
    live = {}
    for key, value in model_tags(store, name).items():
        if not key.startswith(prefix) or key == own:
            continue
        at, by = _claim(value)
        if now - at < CLAIM_SECONDS:
            live[key] = f"{by} (for {now - at:.0f} s)"
        else:
            store.client.delete_registered_model_tag(name, key)
    return live


def _claim(value: str) -> tuple[float, str]:
    try:
        claim = json.loads(value)
        return float(claim["at"]), str(claim["by"])
    except (ValueError, TypeError, KeyError):
        return 0.0, "somebody"  # not a claim of ours: treated as one that nobody cleared away


def _expect(store: Store, name: str, alias: str, version: int | None, when: str) -> None:
    found = get_alias(store, name, alias)
    if found != version:
        raise PromotionConflict(
            f"the alias {alias!r} of {name!r} was moved to {_shown(found)} (expected: {_shown(version)}) {when}."
        )


def _shown(version: int | None) -> str:
    return "nothing" if version is None else f"version {version}"

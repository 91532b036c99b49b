"""`promote` and `rollback`: decide, record the decision, and only then move the alias."""

from __future__ import annotations

import getpass
import json
import logging
import platform
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass, replace
from datetime import UTC, datetime
from typing import Any

from mlflow_pt_eval import names
from mlflow_pt_eval.decisions import Check, Decision, Gate, Pair
from mlflow_pt_eval.errors import BadInput, NotFound
from mlflow_pt_eval.gates import LatencyGate
from mlflow_pt_eval.ledger import Move, earlier
from mlflow_pt_eval.promotion.evidence import Evidence, gather, loads, lost_champion
from mlflow_pt_eval.promotion.options import gates_for, gates_of
from mlflow_pt_eval.state import preserved_rng
from mlflow_pt_eval.tracking import registry
from mlflow_pt_eval.tracking.aliases import check_movable, move_alias, read_ledger
from mlflow_pt_eval.tracking.recording import recording
from mlflow_pt_eval.tracking.runs import set_tags
from mlflow_pt_eval.tracking.store import Store, connect, reaching

_log = logging.getLogger("mlflow_pt_eval")


@preserved_rng()
def promote(
    name: str,
    version: int | str,
    *,
    alias: str = names.CHAMPION,
    gates: Gate | Iterable[Gate] | None = None,
    metric: str = "accuracy",
    split: str = "test",
    min_delta: float = 0.0,
    threshold: float | None = None,
    max_class_drop: float | None = None,
    confidence: float | None = None,
    tolerance: float = 0.0,
    dry_run: bool = False,
) -> Decision:
    """Move *alias* to *version* if it passes every gate; return the decision, either way.

    *version* is a number, an alias or the version's URI. The champion is the version that *alias* points to now.
    Both versions' newest evaluations on *split* on the same data decide. *gates*, several or one, stand in the
    place of those that the options make (see `gates_for`). The version is loaded before anything moves. What was
    decided is `decision.json` of an MLflow run and a tag of the version; a dry run writes nothing. A version that
    is the champion already passes, and nothing is done.

    Errors: NotFound for a version that does not exist; BadInput for one that was never evaluated, or not on the
    champion's data, with the command that mends it; PromotionConflict if the alias moved meanwhile.
    """
    names.check_model_name(name)
    check_movable(alias)
    names.check_split(split)
    asked = gates_for(
        metric=metric, split=split, min_delta=min_delta, threshold=threshold, max_class_drop=max_class_drop,
        confidence=confidence, tolerance=tolerance,
    )  # fmt: skip
    if gates is not None:
        if asked != gates_for():
            raise BadInput("give gates, or metric, min_delta, threshold … of which gates are made, but not both.")
        asked = gates_of(gates)
    store = connect(make=False)
    with reaching(store, f"{name} was not promoted"):
        decision = _decide(store, name, version, alias, asked, split)
        if dry_run or decision.unchanged:
            return replace(decision, dry_run=dry_run)
        return _carry_out(store, decision)


@preserved_rng()
def rollback(name: str, *, alias: str = names.CHAMPION) -> Decision:
    """Move *alias* back to the version that it pointed to before, twice in a row two steps; return what was done.

    Versions that are deleted or do not load are passed over, with a warning. Errors: NotFound where the ledger knows
    no earlier version; PromotionConflict if the alias moved meanwhile.
    """
    names.check_model_name(name)
    check_movable(alias)
    store = connect(make=False)
    with reaching(store, f"{name} was not rolled back"):
        current = registry.get_alias(store, name, alias)
        version, check = _last_good(store, name, alias, current)
        decision = Decision(
            action="rollback", name=name, version=version, alias=alias, champion=current, passed=True, checks=(check,),
            who=_who(), when=_now(),
        )  # fmt: skip
        return _carry_out(store, decision)


def _decide(store: Store, name: str, version: int | str, alias: str, gates: Sequence[Gate], split: str) -> Decision:
    candidate, current = registry.resolve_beside(store, name, version), registry.get_alias(store, name, alias)
    if candidate.name != name:
        raise BadInput(f"{version} is a version of {candidate.name!r}, not of {name!r}.")
    decision = Decision(
        action="promote", name=name, version=candidate.version, alias=alias, champion=current, passed=True,
        split=split, inputs={"version": str(version), "gates": [_described(gate) for gate in gates]},
        who=_who(), when=_now(),
    )  # fmt: skip
    if decision.unchanged:
        return decision
    champion = None if current is None else registry.resolve(store, name, current)
    lost = lost_champion(store, name, alias) if champion is None else None
    if lost is not None:
        _log.warning("%s: %s; gates that compare with it pass.", name, lost)
    evidence = gather(store, candidate, champion, split)
    loaded, measured = loads(store, candidate, timed=any(isinstance(gate, LatencyGate) for gate in gates))
    pair = evidence.pair(store, measured, lost=lost)
    checks = (loaded, *(_answer(gate, pair) for gate in gates))
    return _with_evidence(replace(decision, checks=checks, passed=all(check.passed for check in checks)), evidence)


def _answer(gate: Gate, pair: Pair) -> Check:
    answer: object = gate.check(pair)
    if not isinstance(answer, Check):
        raise BadInput(
            f"the gate {type(gate).__name__} gave {answer!r}: its check(pair) must return a Check of "
            "mlflow_pt_eval.decisions, with gate, passed and detail."
        )
    return answer


def _with_evidence(decision: Decision, evidence: Evidence) -> Decision:
    return replace(
        decision,
        dataset_digest=evidence.candidate.dataset_digest,
        evaluation_run_id=evidence.candidate.run_id,
        champion_evaluation_run_id=None if evidence.champion is None else evidence.champion.run_id,
    )


def _last_good(store: Store, name: str, alias: str, current: int | None) -> tuple[int, Check]:
    for version in earlier(read_ledger(store, name, alias), current):
        try:
            check, _ = loads(store, registry.resolve(store, name, version), timed=False)
        except NotFound as error:
            _log.warning("passed over: %s", error)
            continue
        if check.passed:
            return version, check
        _log.warning("passed over: version %d does not load (%s)", version, check.detail)
    raise NotFound(
        f"the alias {alias!r} of {name!r} ({'not set' if current is None else f'version {current}'}) was at no earlier "
        f"version that could be gone back to; see `mlflow-pt-eval versions {name} --history`."
    )


def _carry_out(store: Store, decision: Decision) -> Decision:
    """Record the decision in a run; then, if it passed, move the alias; then tag the version with the outcome."""
    with _recorded(store, decision) as recorded:
        if recorded.passed:
            move_alias(store, recorded.name, recorded.alias, _move(recorded))
            recorded = replace(recorded, moved=True)
        registry.tag_version(store, recorded.name, recorded.version, {names.TAG_DECISION: _summary(recorded)})
    return recorded


@contextmanager
def _recorded(store: Store, decision: Decision) -> Iterator[Decision]:
    """Write `decision.json` to a run that stays open while the decision is carried out."""
    with recording(
        store,
        kind=names.KIND_PROMOTION,
        run_name=f"{decision.action} {decision.name} {decision.version} to {decision.alias}",
        tags={names.TAG_MODEL_URI: decision.model_uri},
        beside=registry.resolve(store, decision.name, decision.version).run_id,
    ) as run_id:
        recorded = replace(decision, run_id=run_id)
        # Whether the alias moved is not known yet; the run's status, the ledger and the version's tag tell.
        known = {key: value for key, value in recorded.to_json().items() if key != "moved"}
        store.client.log_dict(run_id, known, names.DECISION_JSON)
        set_tags(store, run_id, {names.TAG_DECISION: "passed" if decision.passed else "refused"})
        yield recorded


def _move(decision: Decision) -> Move:
    return Move(
        action=decision.action,
        before=decision.champion,
        after=decision.version,
        at=decision.when,
        by=decision.who,
        run_id=decision.run_id,
    )


def _summary(decision: Decision) -> str:
    shown = ("action", "alias", "champion", "passed", "moved", "when", "who", "run_id", "dataset_digest")
    failed = [check.gate for check in decision.checks if not check.passed]
    return json.dumps({key: getattr(decision, key) for key in shown} | {"failed": failed})


def _described(gate: Gate) -> dict[str, Any]:
    options: dict[str, Any] = asdict(gate) if is_dataclass(gate) and not isinstance(gate, type) else {}
    return {"gate": type(gate).__name__, **options}


def _who() -> str:
    try:
        user = getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container's user id without a name
        user = "unknown"
    return f"{user}@{platform.node()}"[:64]


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")

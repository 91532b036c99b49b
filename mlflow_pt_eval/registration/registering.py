"""`register`: publish, prove, make a version, move the alias, in that order."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mlflow_pt_eval import names
from mlflow_pt_eval.errors import NotFound, RegistrationFailed
from mlflow_pt_eval.exporting.candidate import Candidate, take_candidate
from mlflow_pt_eval.exporting.prove import Prover
from mlflow_pt_eval.registration.reuse import find_twins
from mlflow_pt_eval.state import preserved_rng
from mlflow_pt_eval.tracking.models import located, publish
from mlflow_pt_eval.tracking.registry import create_version, set_alias
from mlflow_pt_eval.tracking.runs import get_run
from mlflow_pt_eval.tracking.store import Store, reaching

if TYPE_CHECKING:
    import torch
    from torch import nn

_log = logging.getLogger("mlflow_pt_eval")


def register(
    store: Store,
    model: nn.Module,
    *,
    name: str,
    input_example: Any,
    weights: Mapping[str, torch.Tensor] | None = None,
    outputs: names.Outputs = "logits",
    class_names: Sequence[str] | None = None,
    factory: str | None = None,
    factory_kwargs: Mapping[str, Any] | None = None,
    run_id: str | None = None,
    epoch: int | None = None,
    step: int | None = None,
    monitor: str | None = None,
    value: float | None = None,
    metrics: Mapping[str, float] | None = None,
    alias: str | None = names.CHALLENGER,
    tags: Mapping[str, str] | None = None,
) -> int:
    """Register *model*, with *weights* instead of its own if given, and return the version's number.

    The same weights give the same version again, and *alias* is then set on that one; where it records other outputs or
    class names than are given, a warning says so and a new version is made. The version exists only after
    a fresh process has loaded the published model and given the live model's outputs on the example; the alias moves
    last. The live model and all random number generators stay as they were. *metrics* are those of the run at
    *epoch*. Errors: RegistrationFailed, naming the difference or what torch.export refuses; BadInput for names and
    examples; StateMismatch; StoreUnavailable.
    """
    names.check_model_name(name)
    if alias is not None:
        names.check_alias(alias)
    with preserved_rng(), reaching(store, f"{name} was not registered"), Prover() as prover:
        candidate = take_candidate(
            model,
            input_example=input_example,
            weights=weights,
            outputs=outputs,
            class_names=class_names,
            factory=factory,
            factory_kwargs=factory_kwargs,
        )
        version = _registered(store, name, candidate, prover)
        if version is None:
            described = _tags(candidate, run_id, epoch, step, monitor, value) | dict(tags or {})
            version = _register_anew(store, name, candidate, prover, run_id, epoch, metrics, described)
        if alias is not None:
            set_alias(store, name, alias, version)
    return version


def _registered(store: Store, name: str, candidate: Candidate, prover: Prover) -> int | None:
    """Return the version that is this model already, if it proves itself as well as a new one would have to."""
    twins = find_twins(store, name, candidate.sha256, outputs=candidate.outputs, class_names=candidate.class_names)
    reasons: list[tuple[int, object]] = list(twins.others)
    for version in twins.same:
        try:
            with located(store, f"models:/{name}/{version}") as (_, folder):
                prover.check(folder, candidate.example, candidate.expected)
                return version
        except (RegistrationFailed, NotFound) as error:
            reasons.append((version, error))
    for version, reason in reasons:
        _log.warning("Version %d of %s has the same weights but is not used again: %s", version, name, reason)
    return None


def _register_anew(
    store: Store,
    name: str,
    candidate: Candidate,
    prover: Prover,
    run_id: str | None,
    epoch: int | None,
    metrics: Mapping[str, float] | None,
    tags: Mapping[str, str],
) -> int:
    experiment_id = store.experiment_id() if run_id is None else get_run(store, run_id).info.experiment_id
    try:
        published = publish(
            store,
            candidate,
            name=name,
            experiment_id=experiment_id,
            check=lambda folder: prover.check(folder, candidate.example, candidate.expected),
            run_id=run_id,
            epoch=epoch,
            metrics=metrics,
        )
    except RegistrationFailed as error:
        raise RegistrationFailed(f"{name} got no new version, and no alias was moved: {error}") from error
    form = {names.TAG_FORM: published.form, names.TAG_FORM_REASON: published.reason}
    found = {key: text for key, text in form.items() if text is not None}
    return create_version(store, name, model_id=published.model_id, run_id=run_id, tags=found | dict(tags))


def _tags(
    candidate: Candidate,
    run_id: str | None,
    epoch: int | None,
    step: int | None,
    monitor: str | None,
    value: float | None,
) -> dict[str, str]:
    found = {
        names.TAG_RUN_ID: run_id,
        names.TAG_EPOCH: epoch,
        names.TAG_STEP: step,
        names.TAG_MONITOR: monitor,
        names.TAG_VALUE: value,
        names.TAG_WEIGHTS_SHA256: candidate.sha256,
        names.TAG_OUTPUTS: candidate.outputs,
    }
    return {key: str(text) for key, text in found.items() if text is not None}

"""The best epoch of a run that is over, from its checkpoints, in a process that never saw the training."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mlflow_pt_eval import names
from mlflow_pt_eval.class_names import check_class_names
from mlflow_pt_eval.errors import CheckpointDamaged, MetricNotLogged, NotFound, UnsafeFile
from mlflow_pt_eval.exporting.snapshot import unwrapped
from mlflow_pt_eval.records import EpochRecord, History
from mlflow_pt_eval.registration.registering import register
from mlflow_pt_eval.tracking.checkpoint_trees import LoadedCheckpoint, list_checkpoints, load
from mlflow_pt_eval.tracking.checkpoints import Checkpoints
from mlflow_pt_eval.tracking.store import Store, connect

if TYPE_CHECKING:
    from torch import nn

_log = logging.getLogger("mlflow_pt_eval")


def register_best(
    run_id: str,
    name: str,
    *,
    model: nn.Module,
    input_example: Any,
    monitor: str = names.VAL_ACCURACY,
    mode: names.Mode = "max",
    alias: str | None = names.CHALLENGER,
    outputs: names.Outputs = "logits",
    class_names: Sequence[str] | None = None,
    factory: str | None = None,
    factory_kwargs: Mapping[str, Any] | None = None,
) -> int:
    """Register the best epoch of a run that is over, from its checkpoints alone; return the version's number.

    *model* is a module of the right class: its own weights do not matter and stay. Where the best epoch has no whole
    checkpoint, the best of those that have is registered, and a warning says so. Errors: NotFound for a run without
    checkpoints, MetricNotLogged where *monitor* never was a finite number, CheckpointDamaged, and those of `register`.
    """
    # Before a checkpoint is fetched.
    names.check_model_name(name)
    unwrapped(model)
    if class_names is not None:
        check_class_names(class_names)
    store = connect(make=False)
    record, checkpoint = best_checkpoint(store, run_id, monitor, mode)
    return register(
        store,
        model,
        name=name,
        input_example=input_example,
        weights=checkpoint.tree["model_state_dict"],
        outputs=outputs,
        class_names=class_names,
        factory=factory,
        factory_kwargs=factory_kwargs,
        run_id=run_id,
        epoch=record.epoch,
        step=record.step,
        monitor=monitor,
        value=record.metrics[monitor],
        metrics=record.metrics,
        alias=alias,
    )


def best_checkpoint(store: Store, run_id: str, monitor: str, mode: names.Mode) -> tuple[EpochRecord, LoadedCheckpoint]:
    """Return the best epoch that has a whole checkpoint, and that checkpoint's model.

    A warning says where the best of all has none. Errors: NotFound for a run without checkpoints, MetricNotLogged where
    *monitor* never was a finite number, CheckpointDamaged where no epoch that logged it has a whole one.
    """
    manifests = {m.epoch: m for m in list_checkpoints(store, run_id) if m.complete}
    if not manifests:
        raise NotFound(f"the run {run_id} has no checkpoint of a finished epoch, so there is nothing to register.")
    history = manifests[max(manifests)].history
    best = history.best(monitor, mode)
    kept = History(tuple(record for record in history if record.epoch in manifests))
    while (record := kept.best(monitor, mode)) is not None:
        try:
            checkpoint = load(Checkpoints.of(store, run_id), manifests[record.epoch].name, only=["model_state_dict"])
        except (CheckpointDamaged, UnsafeFile) as error:
            _log.warning("checkpoint passed over: %s", error)
            kept = History(tuple(other for other in kept if other.epoch != record.epoch))
            continue
        if best is not None and record != best:
            _log.warning(
                "The best %s was that of epoch %d, which has no whole checkpoint; epoch %d is registered.",
                monitor,
                best.epoch,
                record.epoch,
            )
        return record, checkpoint
    raise _none_to_register(run_id, monitor, history, best)


def _none_to_register(run_id: str, monitor: str, history: History, best: EpochRecord | None) -> Exception:
    if best is not None:
        return CheckpointDamaged(
            f"none of the run {run_id}'s epochs with a finite {monitor!r} has a whole checkpoint; "
            f"see `mlflow-pt-eval checkpoints verify {run_id}`."
        )
    what = "was never a finite number" if history.logged(monitor) else "was never logged"
    return MetricNotLogged(
        f"{monitor!r} {what} in the run {run_id}; logged were: {', '.join(history.keys()) or 'none'}."
    )

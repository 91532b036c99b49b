"""A run that records one piece of work: open while the work goes on, with a true status after it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from mlflow_pt_eval.errors import Interrupted, NotFound
from mlflow_pt_eval.signals import ending_truly, held
from mlflow_pt_eval.tracking.runs import OpenRun, finish, get_run, open_run
from mlflow_pt_eval.tracking.store import Store


@contextmanager
def recording(
    store: Store, *, kind: str, run_name: str, tags: Mapping[str, str], beside: str | None = None
) -> Iterator[str]:
    """Give the id of a run of this *kind*, in the experiment of the run *beside* where that is known and still there.

    Its status after the block: FINISHED, KILLED where a signal ended the block, FAILED for any other exception; the
    status of a run that the caller has put us in stays the caller's.
    """
    run: OpenRun | None = None
    with ending_truly():
        try:
            with held():
                experiment = _experiment_of(store, beside)
                run = open_run(store, kind=kind, experiment_name=experiment, run_name=run_name, tags=tags)
            yield run.run_id
        except BaseException as error:
            if run is not None:
                with held():
                    finish(run, "KILLED" if isinstance(error, KeyboardInterrupt | Interrupted) else "FAILED")
            raise
        with held():
            finish(run, "FINISHED")


def _experiment_of(store: Store, run_id: str | None) -> str | None:
    if run_id is None:
        return None
    try:
        experiment = store.client.get_experiment(get_run(store, run_id).info.experiment_id)
    except NotFound:  # a training's run may be deleted while its version lives
        return None
    return str(experiment.name) if experiment.lifecycle_stage == "active" else None

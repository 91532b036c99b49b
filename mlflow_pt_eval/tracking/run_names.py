"""A training's name: found again by it, also where the run is the caller's and keeps a name of its own."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection

from mlflow.entities import Run as MlflowRun
from mlflow.utils import name_utils
from mlflow.utils.mlflow_tags import MLFLOW_PROJECT_ENTRY_POINT

from mlflow_pt_eval.names import TAG_KIND, TAG_RESUMABLE, TAG_RUN_NAME
from mlflow_pt_eval.tracking.runs import OpenRun, get_run, given_run_id, set_tags
from mlflow_pt_eval.tracking.store import Store
from mlflow_pt_eval.tracking.version_info import quoted

# MLflow's own lists; without them every name counts as chosen.
_PREDICATES: Collection[str] = getattr(name_utils, "_GENERATOR_PREDICATES", ())
_NOUNS: Collection[str] = getattr(name_utils, "_GENERATOR_NOUNS", ())
_log = logging.getLogger("mlflow_pt_eval")


def newest_resumable(store: Store, experiment_ids: Collection[str], run_name: str) -> MlflowRun | None:
    """Return the newest run of that name which says that it can be gone on with.

    In a run of the caller's that has another name, the training's own is a tag.
    """
    found = [
        _newest(store, experiment_ids, "attributes.run_name", run_name, lambda run: run.info.run_name),
        _newest(store, experiment_ids, f"tags.`{TAG_RUN_NAME}`", run_name, lambda run: run.data.tags.get(TAG_RUN_NAME)),
    ]
    return max((run for run in found if run is not None), key=lambda run: run.info.start_time, default=None)


def _newest(
    store: Store, experiment_ids: Collection[str], key: str, text: str, of: Callable[[MlflowRun], str | None]
) -> MlflowRun | None:
    """Return the newest resumable run whose *key* in MLflow's filters, and *of* the run, is *text*."""
    clauses = [f"tags.`{TAG_RESUMABLE}` = 'true'"]
    if not ("'" in text and '"' in text):  # MLflow's filters have no text with both
        clauses.append(f"{key} = {quoted(text)}")
    query, token = " AND ".join(clauses), None
    while True:
        page = store.client.search_runs(
            list(experiment_ids), query, order_by=["attributes.start_time DESC"], max_results=100, page_token=token
        )
        found = next((run for run in page if of(run) == text), None)
        if found is not None or not page.token:
            return found
        token = page.token


def experiments_of(store: Store, experiment_name: str | None, parent_run_id: str | None) -> set[str]:
    """Return the ids of the experiments in which an earlier attempt at the same training may have been opened.

    They are the one that is asked for and, where the training goes into a run of the caller's, that run's.
    """
    found, around = {store.experiment_id(experiment_name)}, parent_run_id or given_run_id()
    if around is not None:
        run = get_run(store, around)
        below = parent_run_id is not None or TAG_KIND in run.data.tags
        if not (below and experiment_name):
            found.add(run.info.experiment_id)
    return found


def take_name(
    run: OpenRun, run_name: str | None, experiment_name: str | None, *, of_entry_point: tuple[str, str] | None = None
) -> None:
    """Give a run that the caller owns the name that was asked for, if it has none but the one that MLflow drew.

    *of_entry_point*: (evaluate, a name) for the run of `mlflow run -e evaluate` where none was asked for: it has no
    other work.

    A name that the caller has chosen stays; then the one asked for is a tag, by which `newest_resumable` finds the run,
    and a warning says so, as it does of an experiment: a run stays in its own.
    """
    unused, found = [], get_run(run.store, run.run_id)
    info, entry_point = found.info, found.data.tags.get(MLFLOW_PROJECT_ENTRY_POINT)
    if run_name is None and of_entry_point is not None and entry_point == of_entry_point[0]:
        run_name = of_entry_point[1] if _is_drawn(info.run_name) else None
    if run_name not in (None, info.run_name):
        if _is_drawn(info.run_name):
            run.store.client.update_run(run.run_id, name=run_name)
        else:
            set_tags(run.store, run.run_id, {TAG_RUN_NAME: str(run_name)})
            unused.append(f"run_name={run_name!r} (it keeps its name {info.run_name!r})")
    if experiment_name is not None:
        its_own = run.store.client.get_experiment(info.experiment_id).name
        if experiment_name != its_own:
            unused.append(f"experiment_name={experiment_name!r} (it stays in {its_own!r})")
    if unused:
        _log.warning("the run %s is used, which was there already: not used are %s", run.run_id, "; ".join(unused))


def _is_drawn(name: str | None) -> bool:
    """Say whether MLflow drew the name, such as `bold-crane-371`."""
    first, _, rest = (name or "").partition("-")
    second, _, number = rest.partition("-")
    return not name or (first in _PREDICATES and second in _NOUNS and number.isdecimal())

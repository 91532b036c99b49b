"""Data sets as MLflow knows them: a name, our full digest, where they came from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from mlflow.entities import Dataset, DatasetInput, InputTag, LoggedModelInput
from mlflow.exceptions import MlflowException

from mlflow_pt_eval.tracking.registry import missing
from mlflow_pt_eval.tracking.store import Store

_CONTEXT = "mlflow.data.context"
_NAME_LIMIT: Final = 500  # MLflow's


def dataset_name(name: str) -> str:
    """Return *name* as long as MLflow takes it."""
    return name[:_NAME_LIMIT]


def log_inputs(
    store: Store, run_id: str, *, name: str, digest: str, source: str, split: str, n_samples: int, model_id: str | None
) -> None:
    """Note on a run what was read: the data set, with *split* as its context, and the logged model.

    The digest is the full one of `data.digest`: MLflow's own looks at the first rows only.
    """
    is_file = Path(source).is_file()
    dataset = Dataset(
        name=dataset_name(name),
        digest=digest,
        source_type="local" if is_file else "code",
        source=json.dumps(
            {"uri": str(Path(source).absolute())} if is_file else {"tags": {"mlflow.source.name": source}}
        ),
        profile=json.dumps({"num_rows": n_samples}),
    )
    models = None if model_id is None else [LoggedModelInput(model_id)]
    store.client.log_inputs(run_id, [DatasetInput(dataset, [InputTag(_CONTEXT, split)])], models)


def present_model(store: Store, model_id: str | None) -> str | None:
    """Return *model_id* if this store holds that logged model: a local folder may come from another one."""
    if model_id is None:
        return None
    try:
        store.client.get_logged_model(model_id)
    except MlflowException as error:
        if missing(error):
            return None
        raise
    return model_id

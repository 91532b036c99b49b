"""MLflow's settings held on one store, whatever the code that runs then chooses."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from types import ModuleType
from typing import Any

import mlflow
from mlflow.tracking import _model_registry, _tracking_service

_OWN_RUN = ("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID")
_log = logging.getLogger("mlflow_pt_eval")


def pin(uri: str, artifacts: Path) -> None:
    """Have this process track and register at *uri* for good: `mlflow.set_tracking_uri` and its like change nothing.

    A script under test may name the store that its real runs go to; those must not fill up with rehearsals. A client
    that is given a URI of its own still goes there.
    """
    for name in _OWN_RUN:
        os.environ.pop(name, None)
    # Of experiments that MLflow itself makes in a database, the artifacts would go to the working directory.
    os.environ[_tracking_service.utils._SERVER_ARTIFACT_ROOT_ENV_VAR] = artifacts.as_uri()
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    _hold("set_tracking_uri", mlflow, mlflow.tracking, _tracking_service.utils)
    _hold("set_registry_uri", mlflow, mlflow.tracking, _model_registry.utils)


def _hold(setter: str, *modules: ModuleType) -> None:
    def keep(uri: Any) -> None:
        _log.warning("mlflow.%s(%r) is left out: this is a rehearsal in a store of its own", setter, uri)

    for module in modules:
        setattr(module, setter, keep)

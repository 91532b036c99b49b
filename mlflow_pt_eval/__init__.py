"""You keep your own PyTorch loop; every run of it becomes resumable, registered, evaluated and comparable in MLflow.

Importing this package imports neither torch nor mlflow: a public name is looked up when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlflow_pt_eval.adoption import adopt
    from mlflow_pt_eval.checkpoints import list_checkpoints, load_checkpoint
    from mlflow_pt_eval.comparison import Comparison, compare
    from mlflow_pt_eval.errors import PtEvalError
    from mlflow_pt_eval.evaluation import evaluate
    from mlflow_pt_eval.gates import MetricGate
    from mlflow_pt_eval.metrics import Evaluation
    from mlflow_pt_eval.policies import EarlyStopping, ModelCheckpoint
    from mlflow_pt_eval.promotion import promote, rollback
    from mlflow_pt_eval.registration import load_model, register_best
    from mlflow_pt_eval.state import Stateful
    from mlflow_pt_eval.training.callbacks import Callback, RegisterBest
    from mlflow_pt_eval.training.run import TrainingRun
    from mlflow_pt_eval.validation import validate

__version__ = "0.1.0"

_HOMES = {
    "Callback": "training.callbacks",
    "Comparison": "comparison",
    "EarlyStopping": "policies",
    "Evaluation": "metrics",
    "MetricGate": "gates",
    "ModelCheckpoint": "policies",
    "PtEvalError": "errors",
    "RegisterBest": "training.callbacks",
    "Stateful": "state",
    "TrainingRun": "training.run",
    "adopt": "adoption",
    "compare": "comparison",
    "evaluate": "evaluation",
    "list_checkpoints": "checkpoints",
    "load_checkpoint": "checkpoints",
    "load_model": "registration",
    "promote": "promotion",
    "register_best": "registration",
    "rollback": "promotion",
    "validate": "validation",
}

__all__ = [
    "Callback",
    "Comparison",
    "EarlyStopping",
    "Evaluation",
    "MetricGate",
    "ModelCheckpoint",
    "PtEvalError",
    "RegisterBest",
    "Stateful",
    "TrainingRun",
    "adopt",
    "compare",
    "evaluate",
    "list_checkpoints",
    "load_checkpoint",
    "load_model",
    "promote",
    "register_best",
    "rollback",
    "validate",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

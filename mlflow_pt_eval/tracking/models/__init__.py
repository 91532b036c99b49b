"""Models in MLflow: publishing a candidate as a logged model, and loading any model that MLflow can name."""

from mlflow_pt_eval.tracking.models.load import LoadedModel, load_model, load_version
from mlflow_pt_eval.tracking.models.locate import Located, in_store, located, recorded
from mlflow_pt_eval.tracking.models.publishing import Published, publish

__all__ = [
    "LoadedModel",
    "Located",
    "Published",
    "in_store",
    "load_model",
    "load_version",
    "located",
    "publish",
    "recorded",
]

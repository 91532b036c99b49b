"""MLflow's evaluator plugin: `mlflow.models.evaluate(..., model_type="classifier", evaluators="pt_eval")`.

MLflow imports this module whenever it evaluates anything, so that what is heavy here is imported only when it is used.
MLflow hands an evaluator two-dimensional inputs only; they are given the shape of the model's signature again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlflow_pt_eval.errors import BadInput
from mlflow_pt_eval.tracking.plugin import EvaluationResult, ModelEvaluator, artifacts_of, ask, recorded_outputs

if TYPE_CHECKING:
    from torch import nn

_OPTIONS = ("task", "outputs", "class_names", "classes", "split", "batch_size", "bootstrap", "dataset_name")


class Evaluator(ModelEvaluator):
    """Evaluates a classifier that gives scores: logits or probabilities, as torch models do."""

    name = "pt_eval"

    @classmethod
    def can_evaluate(cls, *, model_type: str, evaluator_config: Any, **kwargs: Any) -> bool:
        """Say whether this evaluator is for *model_type*."""
        return model_type == "classifier"

    def evaluate(
        self,
        *,
        model_type: str,
        dataset: Any,
        run_id: str,
        evaluator_config: dict[str, Any] | None = None,
        model: Any = None,
        model_id: str | None = None,
        **kwargs: Any,
    ) -> EvaluationResult:
        """Evaluate into the run *run_id* (or, where that has a kind already, into a child of it).

        *evaluator_config* takes `evaluate`'s options: task, outputs, class_names, classes, split, batch_size,
        bootstrap, dataset_name. Errors: BadInput without a model, for extra metrics, and as `evaluate`.
        """
        from mlflow_pt_eval.evaluation.subject import Subject
        from mlflow_pt_eval.evaluation.work import Request, compute_and_log
        from mlflow_pt_eval.tracking.evaluation_log import RunChoice, evaluation_run, flat_metrics
        from mlflow_pt_eval.tracking.store import connect

        options = _checked(model, evaluator_config or {}, kwargs)
        outputs = recorded_outputs(model)
        request = Request(
            data=(_matrix(dataset.features_data), dataset.labels_data),
            **{"outputs": outputs or "auto", "dataset_name": dataset.name, **options},
        )
        uri = None if model_id is None else f"models:/{model_id}"
        subject = Subject(module=_module(model, dataset.features_data), uri=uri, model_id=model_id)
        with evaluation_run(connect(), RunChoice(run_id=run_id)) as run:
            found = compute_and_log(run, subject, request)
        return EvaluationResult(flat_metrics(found), artifacts_of(run), run.run_id)


def _checked(model: Any, config: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    if model is None:
        raise BadInput("pt_eval evaluates a model's scores, but was given none: pass model=, not stored predictions.")
    extra = [key for key in ("extra_metrics", "custom_artifacts") if given.get(key)]
    if extra:
        raise BadInput(f"pt_eval has no {extra[0]}; add them with MLflow's own evaluator.")
    unknown = sorted(set(config) - set(_OPTIONS))
    if unknown:
        raise BadInput(f"pt_eval has no option {unknown[0]!r}; evaluator_config takes {', '.join(_OPTIONS)}.")
    return config


def _matrix(features: Any) -> Any:
    """Return the inputs as one matrix of numbers: a table's columns in their order."""
    return features.to_numpy("float32") if hasattr(features, "to_numpy") else features


def _module(model: Any, features: Any) -> nn.Module:
    """Return a pyfunc model as a module that takes and gives tensors."""
    import torch
    from torch import nn

    class Pyfunc(nn.Module):
        def forward(self, rows: torch.Tensor) -> torch.Tensor:
            return torch.from_numpy(ask(model, rows.numpy(), features if hasattr(features, "to_numpy") else None))

    return Pyfunc()

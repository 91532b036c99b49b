"""MLflow's evaluator plugin: `mlflow.models.evaluate(..., model_type="classifier", evaluators="pt_eval")`.

MLflow imports this module whenever it evaluates anything, so that what is heavy here is imported only when it is used.
MLflow hands an evaluator two-dimensional inputs only; they are given the shape of the model's signature again.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mlflow_pt_eval.errors import BadInput
from mlflow_pt_eval.names import check_split
from mlflow_pt_eval.tracking.plugin import (
    EvaluationResult,
    ModelEvaluator,
    artifacts_of,
    ask,
    logged_model_of,
    recorded,
)

if TYPE_CHECKING:
    from torch import nn

    from mlflow_pt_eval.evaluation.subject import Subject
    from mlflow_pt_eval.tracking.store import Store

_OPTIONS = ("task", "outputs", "class_names", "classes", "split", "batch_size", "bootstrap", "dataset_name")
_SPLIT = "test"


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
        from mlflow_pt_eval.evaluation.work import Request, check_text, compute_and_log
        from mlflow_pt_eval.tracking.evaluation_log import RunChoice, evaluation_run, flat_metrics, tag_evaluated
        from mlflow_pt_eval.tracking.store import connect

        options = _checked(model, evaluator_config or {}, kwargs)
        split = options.get("split", _SPLIT)
        check_text("split", split)
        request = Request(
            data=(_matrix(dataset.features_data), dataset.labels_data),
            **{"dataset_name": dataset.name, **options, "split": check_split(split)},
        )
        store = connect()
        module = _module(model, dataset.features_data)
        subject = replace(_subject(store, module, logged_model_of(model, model_id)), **recorded(model))
        with evaluation_run(store, RunChoice(run_id=run_id)) as run:
            found = compute_and_log(run, subject, request)
        if subject.name is not None and subject.version is not None:
            tag_evaluated(run, found, subject.name, subject.version)
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


def _subject(store: Store, module: nn.Module, model_id: str | None) -> Subject:
    """Return the model as the version that it is, since MLflow hands on its logged model only.

    Where several versions are made of that one, which of them was meant is not known.
    """
    from mlflow_pt_eval.evaluation.subject import Subject
    from mlflow_pt_eval.tracking.registry import versions_of_model

    if model_id is None:
        return Subject(module=module)
    found = versions_of_model(store, model_id)
    if len(found) != 1:
        return Subject(module=module, uri=f"models:/{model_id}", model_id=model_id)
    (info,) = found
    return Subject(
        module=module, uri=info.uri, name=info.name, version=info.version, model_id=model_id, run_id=info.run_id
    )


def _matrix(features: Any) -> Any:
    """Return the inputs as one matrix of numbers: a table's columns in their order."""
    from mlflow_pt_eval.data.tables import matrix

    return matrix(features) if hasattr(features, "dtypes") else features


def _module(model: Any, features: Any) -> nn.Module:
    """Return a pyfunc model as a module that takes and gives tensors."""
    import torch
    from torch import nn

    class Pyfunc(nn.Module):
        def forward(self, rows: torch.Tensor) -> torch.Tensor:
            return torch.from_numpy(ask(model, rows.numpy(), features if hasattr(features, "to_numpy") else None))

    return Pyfunc()

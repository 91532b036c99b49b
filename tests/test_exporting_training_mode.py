"""A graph that was exported in training mode is refused; one that only looks like it is not."""

from __future__ import annotations

import mlflow
import pytest
import torch
from conftest import Tiny
from torch import nn

from mlflow_pt_eval.errors import BadInput
from mlflow_pt_eval.evaluation import evaluate
from mlflow_pt_eval.exporting.program import quiet_torch
from mlflow_pt_eval.exporting.training_mode import refuse_training
from mlflow_pt_eval.tracking.models import load_version
from mlflow_pt_eval.tracking.store import connect

# MLflow's pyfunc warns of its own types when it is imported.
pytestmark = pytest.mark.filterwarnings("ignore:.*Any type hint is inferred:UserWarning")

X = torch.randn(6, 4, generator=torch.Generator().manual_seed(1))


class Attention(nn.Module):
    """Drops inside attention only."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.MultiheadAttention(4, 2, dropout=0.3, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x[:, None], x[:, None], x[:, None], need_weights=False)[0][:, 0]


class Nested(nn.Module):
    """Drops inside a graph of the graph."""

    def __init__(self) -> None:
        super().__init__()
        self.drop = nn.Dropout(0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return self.drop(x)


def graph(model: nn.Module, *, training: bool, decomposed: bool = False) -> nn.Module:
    with quiet_torch():
        program = torch.export.export(model.train(training), (X,))
        return (program.run_decompositions() if decomposed else program).module()


@pytest.mark.parametrize("decomposed", [False, True])
@pytest.mark.parametrize(
    ("model", "said"),
    [
        (Tiny(), r"batch_norm\w*, aten\.\w*dropout"),
        (nn.Sequential(nn.Linear(4, 3), nn.AlphaDropout(0.1)), ""),
        (nn.Sequential(nn.Unflatten(1, (2, 2)), nn.InstanceNorm1d(2, track_running_stats=True)), r"norm"),
        (Attention(), ""),
        (Nested(), "dropout"),
    ],
    ids=["norm and dropout", "alpha", "instance norm", "attention", "nested"],
)
def test_training_mode_is_refused_and_eval_mode_is_not(model: nn.Module, said: str, decomposed: bool) -> None:
    """Dropout and norms, also inside other operators and other graphs."""
    refuse_training(graph(model, training=False, decomposed=decomposed), "it")
    if decomposed and not said:
        return  # then it is arithmetic with random numbers, which a model may want in eval mode, too
    with pytest.raises(BadInput, match=rf"it was exported in training mode, for good \(it holds .*{said}.*model\.eval"):
        refuse_training(graph(model, training=True, decomposed=decomposed), "it")


@pytest.mark.parametrize(
    "model",
    [
        nn.Sequential(nn.Linear(4, 3), nn.Dropout(0.0)),
        nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3, track_running_stats=False)),
        nn.Sequential(nn.Unflatten(1, (2, 2)), nn.InstanceNorm1d(2)),
        nn.Sequential(nn.LSTM(4, 3)),
    ],
    ids=["drops nothing", "norm of the batch", "instance norm", "lstm"],
)
def test_what_is_the_same_in_both_modes_is_taken(model: nn.Module) -> None:
    """A norm that keeps no statistics takes the batch's in eval mode, too."""
    assert refuse_training(graph(model, training=True), "it") is not None


def test_a_model_that_mlflow_logged_in_training_mode_takes_no_evaluation(tracking: str, tiny: Tiny) -> None:
    """Its own class with the weights is the way out."""
    with mlflow.start_run():
        logged = mlflow.pytorch.log_model(
            tiny.train(), name="net", input_example=X.numpy(), pip_requirements=["torch"], serialization_format="pt2"
        )
    with pytest.raises(BadInput, match=r"exported in training mode.*or give into=MyNet\(\)"):
        evaluate(logged.model_uri, (X, torch.arange(6) % 3), log=False)
    mine = load_version(connect(tracking), logged.model_uri, into=Tiny())
    assert torch.equal(mine(X), tiny.eval()(X))

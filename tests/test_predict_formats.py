"""Models whose weights are not float32: what arrays become for them, and what is said where that is nothing."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from mlflow_pt_eval.data import digest, load_data
from mlflow_pt_eval.errors import BadInput
from mlflow_pt_eval.predict import predict

X = np.random.default_rng(1).normal(size=(20, 4))
Y = np.arange(20) % 3


class Seen(nn.Module):
    """Keeps the formats that it takes."""

    def __init__(self, dtype):
        super().__init__()
        self.layer, self.seen = nn.Linear(4, 3, dtype=dtype), set()

    def forward(self, x):
        found = self.layer(x)
        self.seen.add(x.dtype)
        return found


@pytest.fixture
def files(tmp_path):
    """The same samples in files."""
    np.savez(tmp_path / "d.npz", X=X, y=Y)
    table = pd.DataFrame(X, columns=list("abcd")).assign(y=Y)
    table.to_parquet(tmp_path / "d.parquet")
    return tmp_path / "d.npz", tmp_path / "d.parquet"


def test_a_float64_model_takes_arrays_and_files(files):
    """What is widened is what was read: the digest, which is of float32, names the numbers that the model got."""
    model = Seen(torch.float64)
    expected = predict(model, (torch.from_numpy(X).float().double(), Y), outputs="logits").scores
    for data in (load_data((X, Y)), load_data(files[0]), load_data(files[1], target="y")):
        found = predict(model, data, outputs="logits", digest=True)
        assert (found.scores == expected).all()
        assert found.digest == digest(data)
        assert "given to the model as float64" in found.notes[0]
    assert model.seen == {torch.float64}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_needs_no_widening_stays_as_it_is(dtype):
    """Neither tensors, which are the caller's choice, nor what a float32 model is given."""
    model = Seen(dtype)
    given = X if dtype == torch.float32 else torch.from_numpy(X)
    assert predict(model, (given, Y), outputs="logits").notes == ()
    assert model.seen == {dtype}


@pytest.mark.parametrize(
    ("dtype", "inputs", "words"),
    [
        (torch.float64, torch.from_numpy(X).float(), "by --data package.module:callable, which returns such tensors"),
        (torch.bfloat16, X, r"torch.as_tensor.X, dtype=torch.bfloat16.; a file's, by --data package.module:callable"),
        (torch.float32, X.astype(np.int64), r"torch.as_tensor.X, dtype=torch.float32.; a file's, stored so"),
    ],
)
def test_inputs_of_another_format_are_told_the_way(dtype, inputs, words):
    """Also for files, which hold no tensors."""
    with pytest.raises(BadInput, match=words):
        predict(nn.Linear(4, 3, dtype=dtype), (inputs, Y))


class Cast(nn.Module):
    """Takes float32, and computes in float64."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Buffer(torch.eye(4))
        self.layer = nn.Linear(4, 3, dtype=torch.float64)

    def forward(self, x):
        return self.layer((x @ self.scale).double())


def test_a_model_that_takes_float32_gets_it_whatever_its_weights_are():
    """Only what refuses the inputs as they are is given others."""
    found = predict(Cast(), (X, Y), outputs="logits")
    assert not any("float64" in note for note in found.notes)
    assert len(found.scores) == len(Y)

"""`weights_sha256`: the same for the same weights, another for any other."""

from __future__ import annotations

from collections import OrderedDict

import pytest
import torch

from mlflow_pt_eval.errors import BadInput
from mlflow_pt_eval.state import weights_sha256

WEIGHTS = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.ones(3), "extra": {"x": (1, b"")}}


def test_it_is_a_fixed_number():
    """It stands in tags and manifests for years, so it must not move with a version of ours."""
    state = {"b": torch.tensor([1, 2]), "a": torch.tensor([[0.5]], dtype=torch.bfloat16)}
    assert weights_sha256(state) == "01a48027df1b4a384c4447c25f1ddb0ade5e8a9e0bf5498e82c2d18edd1caa66"


SAME = {
    "order": dict(reversed(WEIGHTS.items())),
    "ordered": OrderedDict(WEIGHTS),
    "strides": {**WEIGHTS, "a.weight": WEIGHTS["a.weight"].t().contiguous().t()},
    "parameters": {**WEIGHTS, "a.bias": torch.nn.Parameter(torch.ones(3))},
    "view": {**WEIGHTS, "a.bias": torch.ones(9)[3:6]},
}


@pytest.mark.parametrize("name", SAME)
def test_the_same_weights_have_the_same_digest(name):
    """Neither order, nor strides, nor gradients are weights."""
    assert weights_sha256(SAME[name]) == weights_sha256(WEIGHTS)


OTHER = {
    "value": {**WEIGHTS, "a.bias": torch.tensor([1, 1, 1 + 1e-7])},
    "sign of zero": {**WEIGHTS, "a.weight": WEIGHTS["a.weight"] * torch.tensor([-1.0, 1, 1])},
    "dtype": {**WEIGHTS, "a.bias": torch.ones(3, dtype=torch.int32)},
    "shape": {**WEIGHTS, "a.bias": torch.ones(3, 1)},
    "name": {("b" + k[1:] if k == "a.bias" else k): v for k, v in WEIGHTS.items()},
    "missing": {k: v for k, v in WEIGHTS.items() if k != "extra"},
    "extra state": {**WEIGHTS, "extra": {"x": [1, b""]}},
}


@pytest.mark.parametrize("name", OTHER)
def test_other_weights_have_another_digest(name):
    """One bit, one name, one type is enough."""
    assert weights_sha256(OTHER[name]) != weights_sha256(WEIGHTS)


@pytest.mark.parametrize("kind", [torch.bool, torch.complex64, torch.float8_e4m3fn, torch.uint16, torch.bfloat16])
def test_every_dtype_has_a_digest(kind):
    """Also those that NumPy doesn't know."""
    assert weights_sha256({"a": torch.ones(2).to(kind)}) != weights_sha256({"a": torch.zeros(2).to(kind)})


def test_names_and_values_cannot_run_into_each_other():
    """Two texts side by side must not read as two others."""
    assert weights_sha256({"a": "bc"}) != weights_sha256({"ab": "c"})


def test_sparse_weights_are_refused():
    """Rather than to count two ways of storing the same values as different."""
    with pytest.raises(BadInput, match="sparse"):
        weights_sha256({"a": torch.eye(2).to_sparse()})

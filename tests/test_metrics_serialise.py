"""An evaluation survives JSON to the last bit, and nothing else is taken for one."""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import pytest
from metric_cases import several, single

from mlflow_pt_eval.errors import BadInput
from mlflow_pt_eval.metrics import Evaluation, evaluate_scores

EVALUATIONS = {
    "binary": evaluate_scores(*single(1, 80, 2), task="binary", bootstrap=100),
    "multiclass": evaluate_scores(*single(2, 80, 5, "absent_class"), task="multiclass", bootstrap=100, micro=True),
    "multilabel": evaluate_scores(*several(3, 80, 4), task="multilabel", bootstrap=100),
    "single sample": evaluate_scores([0], np.full((1, 3), 1 / 3), task="multiclass"),
}


def assert_identical(found: Any, wanted: Any) -> None:
    """Compare values of any depth: types, dtypes, bits (NaN is itself)."""
    assert type(found) is type(wanted)
    if isinstance(wanted, np.ndarray):
        assert found.dtype == wanted.dtype
        assert found.shape == wanted.shape
        assert np.array_equal(found, wanted, equal_nan=found.dtype.kind == "f")
    elif is_dataclass(wanted):
        for field in fields(wanted):
            assert_identical(getattr(found, field.name), getattr(wanted, field.name))
    elif isinstance(wanted, tuple):
        assert len(found) == len(wanted)
        for mine, theirs in zip(found, wanted, strict=True):
            assert_identical(mine, theirs)
    else:
        assert found == wanted


@pytest.mark.parametrize("name", EVALUATIONS)
def test_json_brings_back_every_bit(name: str) -> None:
    """Through strict JSON, which has neither NaN nor infinity."""
    wanted = EVALUATIONS[name]
    text = json.dumps(wanted.to_json(), allow_nan=False)
    assert_identical(Evaluation.from_json(json.loads(text)), wanted)


def without(key: str) -> dict[str, Any]:
    """Return a stored evaluation that lacks a field."""
    return {name: value for name, value in EVALUATIONS["binary"].to_json().items() if name != key}


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ([], "no stored evaluation"),
        ({"format": 99}, "no stored evaluation of format 1"),
        (without("metrics"), "KeyError: 'metrics'"),
        ({**without("x"), "task": "guessing"}, "'guessing' is none of"),
        ({**without("x"), "metrics": {"accuracy": "high"}}, "ValueError"),
        ({**without("x"), "metrics": 3}, "AttributeError"),
        ({**without("x"), "confusion": [[1, 2], [3]]}, "ValueError"),
    ],
)
def test_anything_else_is_refused(data: Any, said: str) -> None:
    """One line that says what is wrong with it."""
    with pytest.raises(BadInput, match=said):
        Evaluation.from_json(data)


def test_an_older_evaluation_was_of_1000_resamples() -> None:
    """Files without the number are read as what they were."""
    assert EVALUATIONS["binary"].resamples == 100
    assert Evaluation.from_json(without("resamples")).resamples == 1000

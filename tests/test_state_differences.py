"""`first_difference`: exact, and it names the part and the size of what it found."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mlflow_pt_eval.state import capture_rng, first_difference

NAN = float("nan")
ALL_DTYPES = [
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2),
    *(torch.int8, torch.int16, torch.int32, torch.int64, torch.uint8, torch.uint16, torch.uint32, torch.uint64),
    *(torch.bool, torch.complex64, torch.complex128),
]

TABLE = [
    ({"loss": 0.5}, {"loss": 0.25}, "loss (0.5 and 0.25)"),
    ({"a": {"b": [1, 2]}}, {"a": {"b": [1, 3]}}, "a.b.1 (2 and 3)"),
    ({"a": 1}, {"a": 1.0}, "a (1 and 1.0)"),
    ({"a": 1}, {"a": True}, "a (1 and True)"),
    ({"a": (1,)}, {"a": [1]}, "a (a tuple and a list)"),
    ({"a": 1, "b": 2}, {"a": 1}, "b (only in the first)"),
    ({"a": 1}, {"a": 1, "b": 2}, "b (only in the second)"),
    ({"a": [1]}, {"a": [1, 2]}, "a (1 and 2 items)"),
    ({"a": 0.0}, {"a": -0.0}, "a (0.0 and -0.0)"),
    ({"a": None}, {"a": torch.zeros(2)}, "a (None and a tensor (2,))"),
    ({"a": "x" * 50}, {"a": "y"}, f"a ('{'x' * 36}... and 'y')"),
    ({"a": {1}}, {"a": {2}}, "a ({1} and {2})"),
    (1, 2, "the whole (1 and 2)"),
    (
        {"optimizer_state_dict": {"state": {3: {"exp_avg": torch.zeros(2, 4)}}}},
        {"optimizer_state_dict": {"state": {3: {"exp_avg": torch.tensor([[0, 0, 0, 1.2e-7], [0, 0, 0, 0]])}}}},
        "optimizer_state_dict.state.3.exp_avg (max |difference| 1.2e-07 at [0, 3])",
    ),
    ({"t": torch.zeros(2)}, {"t": torch.zeros(3)}, "t (torch.float32 (2,) and torch.float32 (3,))"),
    ({"t": torch.zeros(2)}, {"t": torch.zeros(2).half()}, "t (torch.float32 (2,) and torch.float16 (2,))"),
    ({"t": torch.zeros(2)}, {"t": torch.tensor([0, -0.0])}, "t (max |difference| 0 at [1])"),
    ({"t": torch.tensor(1.0)}, {"t": torch.tensor(NAN)}, "t (max |difference| inf at [])"),
    ({"t": torch.tensor([1, NAN])}, {"t": torch.tensor([3, NAN])}, "t (max |difference| 2 at [0])"),
    ({"t": torch.tensor([3j])}, {"t": torch.tensor([0j])}, "t (max |difference| 3 at [0])"),
    ({"n": np.zeros(2)}, {"n": np.ones(2)}, "n (other values)"),
    ({"n": np.zeros(2)}, {"n": np.zeros(2, np.float32)}, "n (float64 (2,) and float32 (2,))"),
]


@pytest.mark.parametrize(("a", "b", "said"), TABLE)
def test_the_first_difference_is_named(a, b, said):
    """What differs, where, and by how much, on one short line."""
    assert first_difference(a, b) == said


SAME = [
    (NAN, NAN),
    (torch.tensor([NAN, 1]), torch.tensor([NAN, 1])),
    (torch.tensor([complex(NAN, 1)]), torch.tensor([complex(NAN, 1)])),
    (np.array([NAN]), np.array([NAN])),
    (np.float64(NAN), np.float64(NAN)),
    ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
    (torch.zeros(3, 2).t(), torch.zeros(2, 3)),
    (torch.nn.Parameter(torch.ones(2)), torch.ones(2)),
    (torch.zeros(0, 3), torch.zeros(0, 3)),
    (torch.eye(2).to_sparse(), torch.eye(2).to_sparse()),
    (torch.tensor([1j]).conj(), torch.tensor([complex(0, -1)])),
    ({"a"}, {"a"}),
]


@pytest.mark.parametrize(("a", "b"), SAME)
def test_what_is_the_same_is_no_difference(a, b):
    """NaN is itself; order of keys, strides and gradients are no part of a value."""
    assert first_difference({"it": a}, {"it": b}) is None


@pytest.mark.parametrize("dtype", ALL_DTYPES, ids=str)
def test_one_element_counts_in_every_dtype(dtype):
    """Also in those that torch itself cannot compare."""
    a = torch.zeros(2, 3).to(dtype)
    b = torch.tensor([[0, 0, 0], [0, 1, 0]]).to(dtype)
    assert first_difference(a, a.clone()) is None
    assert first_difference(a, b) == "the whole (max |difference| 1 at [1, 1])"


@pytest.mark.parametrize(("library", "name"), [("python", "Python"), ("numpy", "numpy"), ("torch", "torch")])
def test_generators_are_named_for_people(library, name):
    """Nobody knows what the 131st word of a generator's state means."""
    a = {"rng": [capture_rng(), capture_rng()]}
    b = {"rng": [capture_rng(), capture_rng()]}
    words = {"python": "words", "numpy": "state", "torch": None}[library]
    part = b["rng"][1][library] if words is None else b["rng"][1][library][words]
    (part["key"] if library == "numpy" else part)[5] ^= 1
    assert first_difference(a, b).startswith(f"{name} RNG of rank 1 (max |difference| ")
    assert first_difference({"rng": a["rng"][1:]}, {"rng": b["rng"][1:]}).startswith(f"{name} RNG (")

"""The codec: everything that has a form comes back the same, the rest is refused by name."""

from __future__ import annotations

import datetime
import enum
import io
from collections import Counter, OrderedDict, defaultdict, deque
from pathlib import PurePosixPath
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mlflow_pt_eval.errors import BadInput, CheckpointDamaged
from mlflow_pt_eval.state import decode, encode, first_difference
from mlflow_pt_eval.state.codec import MARK


def through_file(value):
    """Save and load as a checkpoint is: nothing is on torch's allow-list."""
    buffer = io.BytesIO()
    torch.save(value, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)


def same(a, b):
    """Say whether two values are the same down to their types."""
    return type(a) is type(b) and first_difference({"it": a}, {"it": b}) is None


AS_THEY_ARE = {
    "none": None,
    "numbers": [True, 1, -(1 << 2000), 0.5, float("inf"), 1j],
    "text": ["", "ä\ud800", b"\xff"],
    "tuple": (1, (2, ("x",))),
    "set": {1, (2, "x")},
    "counter": Counter("aab"),
    "ordered": OrderedDict(b=1, a=2),
    "bytearray": bytearray(b"12"),
    "torch": [torch.float32, torch.device("cuda:1"), torch.Size([2, 3]), torch.strided],
    "keys": {1: 0, 1.5: 0, "a": 0, (1, ("b",)): 0, None: 0, False: 0},
    "dtypes": [torch.zeros(2, dtype=kind) for kind in (torch.bfloat16, torch.bool, torch.complex64, torch.uint16)],
    "sparse": torch.eye(3).to_sparse(),
}

ENCODED = {
    "float64": np.float64(0.1),
    "bool_": np.bool_(True),
    "str_": np.str_("ä"),
    "half": np.float16(1.5),
    "array": np.arange(6.0).reshape(2, 3),
    "fortran": np.asfortranarray(np.arange(6).reshape(2, 3)),
    "strided": np.arange(10)[::-2],
    "big endian": np.arange(3, dtype=">i4"),
    "no dimensions": np.array(3),
    "no elements": np.zeros((0, 3), np.float32),
    "text array": np.array(["a", "bcd"]),
    "time": np.array(["2024-01-01", "NaT"], "M8[ns]"),
    "duration": np.timedelta64(3, "s"),
    "record": np.array([(1, 2.5)], dtype=[("a", "i4"), ("b", "f8")]),
    "long double": np.array([1, 2], np.longdouble),
    "empty bytes": b"",
    "huge": -(3**5000),
    "frozenset": frozenset({1, frozenset({2})}),
    "set of frozensets": {frozenset({1}), b""},
    "deque": deque([1, np.int8(2)], maxlen=4),
    "defaultdict": defaultdict(list, a=[np.int64(1)]),
    "no factory": defaultdict(None, a=1),
    "range": range(1, 9, 2),
    "keys": {np.int64(1): "a", frozenset({2}): "b", (1, b""): np.float32(3), "text": 0},
    "counter": Counter({np.int64(1): 2}),
    "our mark": {MARK: "ndarray", "data": 3},
}


@pytest.mark.parametrize("name", AS_THEY_ARE)
def test_what_torch_takes_stays_as_it_is(name):
    """A checkpoint reads like what its owner put in, wherever weights_only allows it."""
    encoded = encode(AS_THEY_ARE[name])
    assert same(encoded, AS_THEY_ARE[name])
    assert MARK not in repr(encoded)
    assert same(decode(through_file(encoded)), AS_THEY_ARE[name])


@pytest.mark.parametrize("name", ENCODED)
def test_what_torch_refuses_comes_back_the_same(name):
    """Type, dtype, shape, memory order and value survive a file that is read without an allow-list."""
    value = ENCODED[name]
    back = decode(through_file(encode(value)))
    assert same(back, value)
    if isinstance(value, np.ndarray):
        assert back.flags.c_contiguous == np.ascontiguousarray(value).flags.c_contiguous or name == "fortran"
        assert back.flags.writeable
    if isinstance(value, deque):
        assert back.maxlen == value.maxlen
    if isinstance(value, defaultdict):
        assert back.default_factory is value.default_factory


def test_fortran_order_stays_fortran_order():
    """Sums over an array depend on its memory order, so that belongs to what is restored."""
    assert decode(encode(ENCODED["fortran"])).flags.f_contiguous


trees = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text() | st.integers() | st.binary(max_size=2) | st.just(MARK), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(trees)
def test_any_tree_comes_back_the_same(tree):
    """Whatever is nested in whatever, under whatever keys."""
    assert same(decode(through_file(encode(tree))), tree)


class Colour(enum.IntEnum):
    """A number that is more than a number."""

    RED = 1


REFUSED = {
    "function": len,
    "lambda": lambda: 0,
    "object": SimpleNamespace(a=1),
    "path": PurePosixPath("a"),
    "date": datetime.date(2024, 1, 1),
    "enum": Colour.RED,
    "generator": torch.Generator(),
    "objects": np.array([None, 1]),
    "meta": torch.zeros(2, device="meta"),
    "module": torch.nn.Linear(1, 1),
    "defaultdict": defaultdict(lambda: 0),
    "storage": torch.zeros(2).untyped_storage(),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_form_is_refused_with_its_place_and_type(name):
    """The owner has to find it, deep in a state that somebody else's code may have put together."""
    kind = type(REFUSED[name]).__name__
    with pytest.raises(BadInput, match=rf"^my_state_dict\.a\.1\.fn is a \S*{kind}, "):
        encode({"a": [0, {"fn": REFUSED[name]}]}, name="my_state_dict")


def test_a_key_that_has_no_form_is_refused():
    """Keys are named as keys, since they have no place of their own."""
    with pytest.raises(BadInput, match=r"^a\.\(key .*RED.*Colour"):
        encode({"a": {Colour.RED: 1}})


def test_what_holds_itself_is_refused():
    """An endless tree is an error of its own, not a crash."""
    endless = []
    endless.append(endless)
    with pytest.raises(BadInput, match="state holds itself"):
        encode(endless, name="state")


def test_encoding_copies_containers_and_keeps_tensors():
    """The live object's dicts must not be the tree's, while copying tensors is somebody else's work."""
    live = {"a": {"t": torch.zeros(2)}, "l": [1]}
    tree = encode(live)
    tree["l"].append(2)
    tree["a"]["x"] = 1
    assert live == {"a": {"t": live["a"]["t"]}, "l": [1]}
    assert tree["a"]["t"] is live["a"]["t"]


def test_attributes_of_an_ordered_dict_stay():
    """A model's state_dict carries the versions of its modules as an attribute; loading depends on them."""
    state = torch.nn.Sequential(torch.nn.BatchNorm1d(2)).state_dict()
    assert decode(through_file(encode(state)))._metadata == state._metadata


@pytest.mark.parametrize(
    "form", [{MARK: "of tomorrow"}, {MARK: "ndarray"}, {MARK: []}, {MARK: "int", "hex": "x"}, {MARK: "dict", "type": 3}]
)
def test_an_unknown_form_is_damage(form):
    """A form of a later version is named instead of handed to the owner as if it were a value."""
    with pytest.raises(CheckpointDamaged, match="cannot be read"):
        decode({"a": [form]})

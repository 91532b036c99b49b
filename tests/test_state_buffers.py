"""`Buffers`: a copy that shares nothing with what is live, in memory that is kept."""

from __future__ import annotations

import ctypes
from collections import Counter, OrderedDict
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from mlflow_pt_eval.errors import BadInput
from mlflow_pt_eval.state import Buffers, capture_state, decode, encode, first_difference, load_tree, save_tree
from mlflow_pt_eval.state.codec import MARK

DTYPES = [
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.bool),
    *(torch.int8, torch.int64, torch.uint8, torch.uint16, torch.uint32, torch.complex64),
]


def base(tensor):
    """Return the memory that a tensor lies in."""
    return tensor.untyped_storage().data_ptr()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_dtype_is_copied_to_the_bit(dtype):
    """Twice, as the second copy goes into kept memory; the bits are random, NaNs among them."""
    buffers = Buffers()
    for seed in range(2):
        raw = torch.randint(0, 2 if dtype is torch.bool else 256, (64,), dtype=torch.uint8)
        live = raw.view(dtype).reshape(-1, 2)
        copied = buffers.copy({"t": live})["t"]
        assert torch.equal(copied.view(torch.uint8), live.view(torch.uint8)), seed
        assert copied.dtype == dtype


def test_the_copy_shares_nothing_with_the_live_state():
    """Training goes on while the copy is written."""
    live = {"t": torch.zeros(3), "l": [1, {"a": torch.zeros(2)}], "s": {1}, "b": bytearray(b"1"), "c": Counter("a")}
    copied = Buffers().copy(live)
    live["t"] += 1
    live["l"][1]["a"] += 1
    live["l"].append(2)
    live["l"][1]["b"] = 1
    live["s"].add(2)
    live["b"].extend(b"2")
    live["c"]["b"] = 5
    then = {"t": torch.zeros(3), "l": [1, {"a": torch.zeros(2)}], "s": {1}, "b": bytearray(b"1"), "c": Counter("a")}
    assert first_difference(copied, then) is None


def test_memory_is_reused_for_the_same_place():
    """Fresh memory costs three times as much as the copy."""
    buffers, live = Buffers(), {"a": torch.zeros(5), "b": [torch.zeros(2, 3).t()]}
    first = buffers.copy(live)
    live["a"] += 1
    second = buffers.copy(live)
    assert first["a"].data_ptr() == second["a"].data_ptr()
    assert first["b"][0].data_ptr() == second["b"][0].data_ptr()
    assert torch.equal(second["a"], torch.ones(5))
    assert buffers.nbytes == (5 + 6) * 4


CHANGED = {
    "shape": torch.zeros(6),
    "dtype": torch.zeros(5, dtype=torch.int32),
    "strides": torch.zeros(5, 2)[:, 0],
    "gone": 3,
    "container": {"b": torch.zeros(5)},
    "list": [torch.zeros(5)],
    "module": nn.BatchNorm1d(3).state_dict(),
}


@pytest.mark.parametrize("name", CHANGED)
def test_what_looks_otherwise_gets_memory_of_its_own(name):
    """And the memory that no place needs any more is given back."""
    buffers = Buffers()
    buffers.copy({"a": torch.ones(5)})
    copied = buffers.copy({"a": CHANGED[name]})
    assert first_difference(copied, {"a": CHANGED[name]}) is None
    assert buffers.nbytes == sum(t.nbytes for t in tensors(copied))
    assert first_difference(buffers.copy({"a": torch.ones(5)}), {"a": torch.ones(5)}) is None


def tensors(tree):
    """Return the tensors of a tree."""
    if isinstance(tree, torch.Tensor):
        return [tree]
    parts = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ()
    return [tensor for part in parts for tensor in tensors(part)]


def test_a_tree_can_change_its_form_from_one_copy_to_the_next():
    """Adam has no state before its first step."""
    buffers = Buffers()
    trees = [{"s": {}}, {"s": {0: {"m": torch.ones(2)}}}, {"s": [torch.ones(2)]}, {"s": {0: torch.ones(2)}}, 3, [], {}]
    for tree in [*trees, *reversed(trees)]:
        assert first_difference(buffers.copy(tree), tree) is None


def test_tied_tensors_stay_one_and_are_copied_once(tmp_path):
    """In memory, and in the file."""
    weight = torch.rand(1000)
    live = {"a": weight, "b": weight.detach(), "view": weight[:500], "half": weight[500:]}
    buffers = Buffers()
    copied = buffers.copy(live)
    assert copied["a"] is copied["b"]
    assert buffers.nbytes == 8000
    assert first_difference(copied, live) is None
    save_tree(copied, tmp_path / "state.pt")
    again = load_tree(tmp_path / "state.pt")
    assert base(again["a"]) == base(again["b"])
    assert base(again["a"]) != base(again["view"])


def test_tensors_that_are_no_longer_tied_part():
    """What was one buffer for two places must not take two tensors now."""
    buffers, weight = Buffers(), torch.rand(4)
    buffers.copy({"a": weight, "b": weight})
    live = {"a": torch.ones(4), "b": torch.zeros(4)}
    assert first_difference(buffers.copy(live), live) is None
    assert first_difference(buffers.copy({"a": weight, "b": weight}), {"a": weight, "b": weight}) is None


def test_one_memory_seen_in_two_ways_is_two_copies():
    """Address and shape alone don't make two tensors the same."""
    numbers = torch.tensor([1 + 2j, 3 + 4j])
    square = torch.arange(4.0).reshape(2, 2)
    live = {
        "plain": numbers, "conj": numbers.conj(), "imag": numbers.imag, "neg": numbers.conj().imag,
        "square": square, "t": square.t(), "t again": square.t(), "bits": square.view(torch.int32),
    }  # fmt: skip
    buffers = Buffers()
    for _ in range(2):
        copied = buffers.copy(live)
        assert first_difference(copied, live) is None
        assert not any(t.is_conj() or t.is_neg() for t in copied.values())
        assert copied["t"] is copied["t again"]


def test_a_view_takes_its_own_bytes_only(tmp_path):
    """A row of a huge table must not drag the table into every checkpoint."""
    table = torch.zeros(1_000_000)
    live = {"row": table[10:20], "step": table[::100_000], "wide": table[:1].expand(5), "none": table[:0]}
    buffers = Buffers()
    save_tree(buffers.copy(live), tmp_path / "state.pt")
    assert (tmp_path / "state.pt").stat().st_size < 10_000
    assert buffers.nbytes == (10 + 10 + 5) * 4
    assert first_difference(buffers.copy(live), live) is None
    assert buffers.nbytes == (10 + 10 + 5) * 4


def test_memory_order_stays():
    """A sum over a channels-last tensor adds in another order, so that it is part of the state."""
    live = torch.rand(2, 3, 4, 5).to(memory_format=torch.channels_last)
    assert Buffers().copy({"t": live})["t"].stride() == live.stride()


def test_parameters_stay_parameters():
    """As for their owner, who gets them back; gradients and graphs stay behind."""
    live = {
        "parameter": nn.Parameter(torch.ones(2)),
        "frozen": nn.Parameter(torch.ones(2), requires_grad=False),
        "leaf": torch.ones(2, requires_grad=True),
        "result": torch.ones(2, requires_grad=True) * 2,
        "plain": torch.ones(2),
    }
    live["parameter"].grad = torch.ones(2)
    copied = Buffers().copy(live)
    assert [type(copied[key]) for key in live] == [nn.Parameter, nn.Parameter, *[torch.Tensor] * 3]
    assert [copied[key].requires_grad for key in live] == [True, False, True, False, False]
    assert all(copied[key].is_leaf and copied[key].grad is None for key in live)
    assert first_difference(copied, live) is None


@pytest.mark.filterwarnings("ignore:.*quantize", "ignore:.*quantization", "ignore:.*[Ss]parse CSR")
def test_rare_layouts_are_copied_too():
    """They get no kept memory, but they are owned."""
    values = torch.tensor([[1.0, 0], [0, 2]])
    live = {
        "coo": values.to_sparse(),
        "csr": values.to_sparse_csr(),
        "q": torch.quantize_per_tensor(values, 1, 0, torch.qint8),
    }
    buffers = Buffers()
    buffers.copy({key: values for key in live})
    copied = buffers.copy(live)
    live["coo"].coalesce().values().zero_()
    assert torch.equal(copied["coo"].to_dense(), values)
    assert torch.equal(copied["csr"].to_dense(), values)
    assert torch.equal(copied["q"].dequantize(), values)


def test_a_models_metadata_is_copied():
    """The versions of its modules, as new dicts."""
    model = nn.Sequential(nn.BatchNorm1d(2))
    state = capture_state({"model": model})["model_state_dict"]
    copied = Buffers().copy({"m": state})["m"]
    assert type(copied) is OrderedDict
    assert copied._metadata == state._metadata
    assert copied._metadata["0"] is not state._metadata["0"]


def test_arrays_are_copied_in_their_form():
    """NumPy arrays of a user's state, whose memory goes on being written."""
    array = np.arange(4.0)
    buffers = Buffers()
    copied = buffers.copy({"a": array})
    array += 1
    assert first_difference(copied, encode({"a": np.arange(4.0)})) is None
    assert buffers.nbytes == 32


FORMS = [np.zeros(2), frozenset({1}), np.float64(1), 1 << 5000, b"", {(1, b""): torch.ones(2)}, {MARK: [torch.ones(1)]}]


@pytest.mark.parametrize("leaf", FORMS, ids=str)
def test_what_has_a_form_is_encoded_on_the_way(leaf):
    """Once, as `encode` does it, and decoded to what it was."""
    live = {"a": [0, {"x": leaf}], "t": torch.ones(2)}
    buffers = Buffers()
    for _ in range(2):
        copied = buffers.copy(live)
        assert first_difference(copied, encode(live)) is None
        assert first_difference(decode(copied), live) is None


@pytest.mark.parametrize("leaf", [SimpleNamespace(), lambda: 0, torch.ones(1, device="meta")])
def test_what_a_checkpoint_cannot_hold_is_refused(leaf):
    """By its place, before it gets into a file that cannot be read."""
    with pytest.raises(BadInput, match=rf"^a\.1\.x is a \S*{type(leaf).__name__}, which a checkpoint cannot hold"):
        Buffers().copy({"a": [0, {"x": leaf}]})


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors is in prototype stage")
def test_a_nested_tensor_is_refused():
    """By its place as well: it is strided by name, but has no one shape to make a buffer of."""
    nested = torch.nested.nested_tensor([torch.ones(2), torch.ones(3)], layout=torch.strided)
    with pytest.raises(BadInput, match=r"^a\.x is a torch\.Tensor, which a checkpoint cannot hold while it is nested"):
        Buffers().copy({"a": {"x": nested}})


def test_what_holds_itself_is_refused():
    """Not by Python's limit of recursion."""
    live = {}
    live["a"] = live
    with pytest.raises(BadInput, match="holds itself"):
        Buffers().copy(live)


def resident(tensor):
    """Return how many pages of a tensor are in memory."""
    page = 4096
    start = -(-tensor.data_ptr() // page) * page
    pages = (tensor.data_ptr() + tensor.nbytes - start) // page
    flags = (ctypes.c_ubyte * pages)()
    assert ctypes.CDLL(None).mincore(ctypes.c_void_p(start), ctypes.c_size_t(pages * page), flags) == 0
    return sum(flag & 1 for flag in flags), pages


def test_prefault_makes_the_memory_of_the_next_copy():
    """Its pages are there already, and the copy takes them."""
    buffers, live = Buffers(), {"a": torch.ones(5_000_000), "b": [torch.ones(3)]}
    buffers.prefault(live)
    buffers.wait()
    assert buffers.nbytes == 20_000_012
    made = buffers._kept[0]["a"].host
    there, pages = resident(made)
    assert there == pages
    assert buffers.copy(live)["a"] is made
    assert first_difference(buffers.copy(live), live) is None


def test_prefault_leaves_a_copy_alone():
    """What is kept already is not touched."""
    buffers, live = Buffers(), {"a": torch.ones(3)}
    copied = buffers.copy(live)
    buffers.prefault({**live, "b": torch.ones(2)})
    assert torch.equal(copied["a"], torch.ones(3))


def test_nothing_live_is_held():
    """A model that its owner has dropped is not kept alive by its checkpoint's buffers."""
    import gc
    import weakref

    buffers, live = Buffers(), torch.ones(3)
    buffers.copy({"a": live})
    gone = weakref.ref(live)
    del live
    gc.collect()
    assert gone() is None


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_tensors_on_cuda_come_to_pinned_memory():
    """All of them are there when `copy` returns."""
    live = {"a": torch.rand(1_000_000, device="cuda"), "b": torch.rand(3)}
    buffers = Buffers()
    for _ in range(2):
        copied = buffers.copy(live)
        assert copied["a"].is_pinned()
        assert torch.equal(copied["a"], live["a"].cpu())
        live["a"] += 1

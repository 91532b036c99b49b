"""Freezing a copy leaves the live model alone, and the copy is the bare model."""

from __future__ import annotations

import copy
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Tiny
from nets import Image, Words
from torch import nn

from mlflow_pt_eval.errors import RegistrationFailed, StateMismatch
from mlflow_pt_eval.exporting.snapshot import frozen_copy, unwrapped


def test_the_copy_is_frozen_and_shares_nothing(tiny: Tiny) -> None:
    """Changing the live model afterwards does not reach the copy."""
    before = copy.deepcopy(tiny.state_dict())
    made = frozen_copy(tiny.train())
    assert not made.training
    assert not any(p.requires_grad for p in made.parameters())
    for value in tiny.state_dict().values():
        value.zero_()
    assert all(torch.equal(made.state_dict()[key], before[key]) for key in before)


def test_the_live_model_stays_as_it_is(tiny: Tiny) -> None:
    """Mode, buffers, gradients, requires_grad and hooks are the same after as before."""
    seen: list[Any] = []
    tiny.train().register_forward_hook(lambda *_: seen.append(1))
    tiny(torch.randn(5, 4)).sum().backward()
    tiny.layers[0].weight.requires_grad_(False)
    before = copy.deepcopy((tiny.state_dict(), [p.grad for p in tiny.parameters()]))
    frozen_copy(tiny)(torch.randn(5, 4))
    assert tiny.training
    assert len(seen) == 1
    assert len(tiny._forward_hooks) == 1
    assert [p.requires_grad for p in tiny.parameters()] == [False, *[True] * 5]
    assert all(torch.equal(before[0][key], value) for key, value in tiny.state_dict().items())
    assert all(torch.equal(a, p.grad) for a, p in zip(before[1], tiny.parameters(), strict=True))


def test_a_dropped_hook_is_said(tiny: Tiny, caplog: pytest.LogCaptureFixture) -> None:
    """A user's forward hook is not published, which a warning says, since it could change the outputs."""
    tiny.register_forward_hook(lambda module, inputs, output: output * 0)
    frozen_copy(tiny)
    assert caplog.messages == ["A Tiny has 1 forward hook(s); the published model is without them."]


@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
def test_weight_norm_stays() -> None:
    """Torch's own hooks are part of the model: the old weight norm computes the weight in one."""
    layer = nn.utils.weight_norm(nn.Linear(4, 3))
    weights = {key: value * 2 for key, value in layer.state_dict().items()}
    copied = frozen_copy(layer, weights)
    layer.load_state_dict(weights)
    x = torch.randn(2, 4)
    assert torch.equal(copied(x), layer(x))


@pytest.mark.filterwarnings("ignore:.*torch.jit.script_method:DeprecationWarning")  # torch.compile's own import
def test_wrappers_are_taken_off_everywhere(tiny: Tiny) -> None:
    """DataParallel around the model and torch.compile around a part of it are both gone, and the values are there."""
    outer = nn.Sequential(torch.compile(tiny), nn.Linear(3, 2))
    wrapped = nn.DataParallel(torch.compile(outer))
    made = frozen_copy(wrapped)
    assert sorted(made.state_dict()) == sorted(k.replace("_orig_mod.", "") for k in outer.state_dict())
    assert type(made[0]) is Tiny
    assert type(outer[0]) is not Tiny
    x = torch.randn(3, 4)
    assert torch.equal(made(x), outer[1].eval()(tiny.eval()(x)))
    assert unwrapped(wrapped) is outer


def test_ddp_is_taken_off(tiny: Tiny, tmp_path: Path) -> None:
    """The copy has neither the wrapper nor its hooks, and its names are the bare model's."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/ranks", rank=0, world_size=1)
    try:
        wrapped = nn.parallel.DistributedDataParallel(tiny)
        wrapped(torch.randn(5, 4)).sum().backward()
        made = frozen_copy(wrapped)
        del wrapped  # before its process group: torch can hang if a wrapper outlives it
    finally:
        torch.distributed.destroy_process_group()
    assert type(made) is Tiny
    assert all(torch.equal(tiny.state_dict()[key], value) for key, value in made.state_dict().items())


def test_tied_weights_stay_tied() -> None:
    """One parameter under two names is one parameter in the copy."""
    made = frozen_copy(Words())
    assert made.head.weight is made.embedding.weight


def test_channels_last_is_kept() -> None:
    """The copy's weights have the live model's strides."""
    live = Image().to(memory_format=torch.channels_last)
    assert frozen_copy(live).conv.weight.stride() == live.conv.weight.stride()


def test_a_cached_activation_does_not_hinder(tiny: Tiny) -> None:
    """A tensor with a graph behind it, kept as an attribute, is copied without the graph."""
    tiny.last = tiny(torch.randn(4, 4))
    assert not frozen_copy(tiny).last.requires_grad


def test_weights_replace_the_live_ones(tiny: Tiny) -> None:
    """The best epoch's weights are published, whatever the live model has now."""
    best = {key: value + 1 for key, value in tiny.state_dict().items()}
    made = frozen_copy(tiny, best)
    assert all(torch.equal(made.state_dict()[key], value) for key, value in best.items())
    assert not torch.equal(tiny.state_dict()["layers.0.bias"], best["layers.0.bias"])


def test_weights_that_do_not_fit_are_named(tiny: Tiny) -> None:
    """Missing, unexpected and wrongly shaped entries are all in the message."""
    weights = dict(tiny.state_dict())
    weights["stem.weight"] = weights.pop("layers.0.weight")
    weights["layers.4.bias"] = torch.zeros(7)
    with pytest.raises(StateMismatch) as caught:
        frozen_copy(tiny, weights)
    assert "missing: layers.0.weight; unexpected: stem.weight" in str(caught.value)
    assert "layers.4.bias: (7,) instead of (3,)" in str(caught.value)


def test_what_cannot_be_copied_is_said(tiny: Tiny) -> None:
    """A lock in an attribute is an error that says so, not torch's own traceback."""
    tiny.lock = threading.Lock()
    with pytest.raises(RegistrationFailed, match="cannot be copied .TypeError: cannot pickle '_thread.lock'"):
        frozen_copy(tiny)

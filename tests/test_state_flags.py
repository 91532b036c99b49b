"""What is frozen and what is in eval mode: taken by names without wrappers, put back one by one."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import nn

from mlflow_pt_eval.state import capture_flags, other_flags, restore_flags


def net() -> nn.Sequential:
    """Two linear layers with a batch norm between them."""
    return nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 2))


def test_flags_are_named_by_the_entry_of_the_state_and_the_name_in_it():
    """Objects that are no modules have none."""
    model = nn.Sequential(nn.Linear(2, 2, bias=False))
    flags = capture_flags({"model": model, "optimizer": torch.optim.SGD(model.parameters())})
    assert flags == {"requires_grad": {"model.0.weight": True}, "training": {"model": True, "model.0": True}}


@pytest.mark.parametrize(
    "wrap", [nn.DataParallel, partial(torch.compile, backend="eager")], ids=["DataParallel", "compile"]
)
def test_wrappers_do_not_show_in_the_names(wrap):
    """A checkpoint of a wrapped model restores a bare one, and the other way round."""
    wrapped, bare = wrap(net()), net()
    wrapped.eval()
    bare[0].requires_grad_(False)
    bare[1].eval()
    flags = capture_flags({"model": wrapped})
    assert flags["training"].keys() == capture_flags({"model": bare})["training"].keys()
    restore_flags({"model": wrapped}, capture_flags({"model": bare}))
    assert capture_flags({"model": wrapped}) == capture_flags({"model": bare})
    assert wrapped.training
    restore_flags({"model": bare}, flags)
    assert capture_flags({"model": bare}) == flags


class FrozenNorm(nn.Sequential):
    """Keeps its batch norm in eval mode, as is usual in fine-tuning."""

    def train(self, mode: bool = True) -> FrozenNorm:
        super().train(mode)
        self[1].eval()
        return self


def test_a_train_method_of_the_models_own_is_not_called():
    """It might change more than modes."""
    model = FrozenNorm(*net())
    flags = capture_flags({"model": net()})
    restore_flags({"model": model}, flags)
    assert model[1].training


def test_what_has_no_flag_or_cannot_have_it_is_left():
    """A part that is new, and a parameter of integers."""
    model = net()
    model.eval()
    model.register_parameter("codes", nn.Parameter(torch.zeros(2, dtype=torch.int8), requires_grad=False))
    restore_flags({"model": model}, {"requires_grad": {"model.codes": True}, "training": {"model.0": True}})
    assert [name for name, flag in capture_flags({"model": model})["training"].items() if flag] == ["model.0"]
    assert not model.codes.requires_grad


def test_other_flags_are_those_that_differ_by_name():
    """What only one side has is no difference."""
    one = {"requires_grad": {"a": True, "b": True}, "training": {"m": False}}
    than = {"requires_grad": {"a": False, "c": True}, "training": {"m": False}}
    assert other_flags(one, than=than) == {"requires_grad": {"a": True}, "training": {}}

"""Names without wrappers: told by what the modules are, either way, however nested."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mlflow_pt_eval.state import Buffers, capture_state, first_difference, restore_state
from mlflow_pt_eval.state.wrappers import looks_wrapped, unwrapped_names


class Net(nn.Module):
    """Has a part that is honestly called `module`, batch norm (whose version stands in the metadata), a tied weight."""

    def __init__(self, seed=0, wrap=lambda part: part):
        super().__init__()
        torch.manual_seed(seed)
        self.module = nn.Linear(3, 3)
        self.body = wrap(nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 2)))
        self.tied = nn.Linear(3, 3)
        self.tied.weight = self.module.weight


def parallel(part):
    return nn.DataParallel(part)


def compiled(part):
    return torch.compile(part, backend="eager")


WRAPPED = {
    "bare": lambda seed: Net(seed),
    "parallel": lambda seed: parallel(Net(seed)),
    "compiled": lambda seed: compiled(Net(seed)),
    "compiled parallel": lambda seed: compiled(parallel(Net(seed))),
    "parallel compiled": lambda seed: parallel(compiled(Net(seed))),
    "inside": lambda seed: Net(seed, wrap=lambda part: parallel(compiled(part))),
    "inside and outside": lambda seed: compiled(Net(seed, wrap=parallel)),
    "twice": lambda seed: parallel(parallel(Net(seed))),
}


@pytest.mark.parametrize("name", WRAPPED)
def test_captured_names_are_those_of_the_bare_model(name):
    """Also the modules' versions in the metadata; the user's own `module` stays."""
    bare = Net(0).state_dict()
    captured = capture_state({"model": WRAPPED[name](0)})["model_state_dict"]
    assert list(captured) == list(bare)
    assert captured._metadata == bare._metadata
    assert first_difference(captured, bare) is None


@pytest.mark.parametrize("new", WRAPPED)
@pytest.mark.parametrize("old", ["bare", "compiled parallel", "inside"])
def test_any_wrapping_restores_into_any_other(old, new):
    """A checkpoint of a DDP run goes on in a notebook without it, and the other way round."""
    tree = Buffers().copy(capture_state({"model": WRAPPED[old](1)}))
    live = WRAPPED[new](2)
    restore_state(tree, {"model": live})
    assert first_difference(capture_state({"model": live}), tree) is None


def test_the_state_loads_into_the_bare_class_by_hand():
    """`load_state_dict(torch.load(...)["model_state_dict"])` is all that a person needs."""
    tree = capture_state({"model": compiled(parallel(Net(1)))})
    net = Net(2)
    net.load_state_dict(tree["model_state_dict"], strict=True)
    assert first_difference(dict(net.state_dict()), dict(Net(1).state_dict())) is None


def test_distributed_data_parallel_is_a_wrapper(tmp_path):
    """The real one, in a group of one process."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/group", rank=0, world_size=1)
    try:
        model = compiled(nn.parallel.DistributedDataParallel(Net(1)))
        tree = capture_state({"model": model})
        assert list(tree["model_state_dict"]) == list(Net(0).state_dict())
        other = nn.parallel.DistributedDataParallel(Net(2))
        restore_state(tree, {"model": other})
        assert first_difference(capture_state({"model": other}), tree) is None
    finally:
        torch.distributed.destroy_process_group()


def test_an_averaged_model_is_no_wrapper():
    """It has a count of its own beside its module, and a wrapped model inside is unwrapped all the same."""
    averaged = torch.optim.swa_utils.AveragedModel(parallel(Net(0)))
    averaged.update_parameters(parallel(Net(1)))
    tree = Buffers().copy(capture_state({"model": Net(0), "ema": averaged}))
    assert {"n_averaged", "module.module.weight", "module.body.1.bias"} <= tree["ema_state_dict"].keys()
    new = torch.optim.swa_utils.AveragedModel(Net(2))
    restore_state(tree, {"model": Net(3), "ema": new})
    assert new.n_averaged == 1
    assert first_difference(new.state_dict(), tree["ema_state_dict"]) is None


def test_a_bare_model_is_not_walked():
    """Most models have no wrapper; a look at the keys says so."""
    assert not looks_wrapped(nn.Sequential(nn.Linear(1, 1)).state_dict())
    assert unwrapped_names(parallel(nn.Linear(1, 1))) == {"": "", "module": ""}


def test_parts_without_parameters_and_modules_held_twice_have_names():
    """They count for the metadata, and every path to a shared module is its own."""
    shared = nn.Linear(2, 2)
    names = unwrapped_names(nn.Sequential(shared, nn.ReLU(), parallel(shared)))
    assert names == {"": "", "0": "0", "1": "1", "2": "2", "2.module": "2"}

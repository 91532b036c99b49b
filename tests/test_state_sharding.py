"""A state that is held in parts: what is saved of it, and how the parts are put together, damaged ones included."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_tensor

from mlflow_pt_eval.errors import BadInput, CheckpointDamaged, PtEvalError, RegistrationFailed, UnsafeFile
from mlflow_pt_eval.exporting.snapshot import frozen_copy
from mlflow_pt_eval.state import (
    Buffers,
    assemble,
    capture_state,
    check_sharding,
    first_difference,
    index_of,
    load_tree,
    restore_state,
    save_tree,
    take_shard,
    take_up_shards,
)
from mlflow_pt_eval.training.progress import step_value

PATH = ["model_state_dict", "w"]


def part(tensor: torch.Tensor, offset: int) -> dict[str, Any]:
    """What a process says of the rows from *offset* of the 5 x 2 tensor `w`."""
    said = {"path": PATH, "shape": (5, 2), "dtype": torch.float32}
    return {"w": {**said, "offsets": (offset, 0), "sizes": tuple(tensor.shape)}}


@pytest.fixture
def parts(tmp_path: Path) -> tuple[torch.Tensor, dict[str, Any], Path]:
    """A tensor, the tree that says where its two parts are, and the folder that they are in."""
    whole = torch.arange(10.0).reshape(5, 2)
    save_tree({"w": whole[:3]}, tmp_path / "one.pt")
    save_tree({"w": whole[3:]}, tmp_path / "two.pt")
    index = index_of([part(whole[:3], 0), part(whole[3:], 3)], ["one.pt", "two.pt"])
    return whole, {"epoch": 1, "model_state_dict": {"b": torch.ones(1)}, "shards": index}, tmp_path


def test_one_process_puts_all_parts_together(parts):
    """The tree is then as one that was never held in parts; the one that was read stays as it is."""
    whole, tree, folder = parts
    made = assemble(tree, lambda file: folder / file)
    assert torch.equal(made["model_state_dict"]["w"], whole)
    assert set(made) == {"epoch", "model_state_dict"}
    assert set(tree["model_state_dict"]) == {"b"}


def test_what_is_not_asked_for_is_not_read(parts):
    """Only some entries of the tree: no file of others is opened."""
    _, tree, _ = parts
    assert assemble(tree, lambda file: pytest.fail(file), only=["optimizer_state_dict"]) == {}


@pytest.mark.parametrize(
    "held", [{"w": torch.ones(1, 2)}, {"w": torch.ones(2, 2).double()}, {"v": torch.ones(2, 2)}, {"w": 3}, [1]]
)
def test_a_file_without_its_part_is_damaged(parts, held):
    """Another shape, another dtype, another name, no tensor, no mapping."""
    _, tree, folder = parts
    save_tree(held, folder / "two.pt")
    with pytest.raises(CheckpointDamaged, match=r"two\.pt does not hold the part \(2, 2\) torch.float32 of w"):
        assemble(tree, lambda file: folder / file)


def test_a_file_that_is_cut_off_is_damaged(parts):
    """What the reader of a file says comes through torch's own loading."""
    _, tree, folder = parts
    (folder / "two.pt").write_bytes((folder / "two.pt").read_bytes()[:-100])
    with pytest.raises(CheckpointDamaged, match=r"two\.pt cannot be read"):
        assemble(tree, lambda file: folder / file)


def test_no_pickle_of_a_part_is_executed(parts):
    """A file that asks for code is refused."""
    _, tree, folder = parts

    class Evil:
        def __reduce__(self) -> Any:
            return Path.touch, (folder / "executed",)

    (folder / "two.pt").write_bytes(pickle.dumps(Evil(), protocol=4))
    with pytest.raises(UnsafeFile):
        assemble(tree, lambda file: folder / file)
    assert not (folder / "executed").exists()


@pytest.mark.parametrize("change", ["a part is missing", "a part is outside", "no shape", "no place"])
def test_a_tree_that_says_nonsense_of_its_parts_is_damaged(parts, change):
    """Nothing that was never written is handed out as a weight."""
    _, tree, folder = parts
    entry = tree["shards"]["w"]
    if change == "a part is missing":
        del entry["chunks"][1]
    elif change == "a part is outside":
        entry["chunks"][1]["offsets"] = (4, 0)
    elif change == "no shape":
        del entry["shape"]
    else:
        entry["path"] = ["model_state_dict", "b", "w"]
    with pytest.raises((CheckpointDamaged, KeyError)):
        assemble(tree, lambda file: folder / file)


def test_parts_that_do_not_make_up_the_whole_are_not_saved():
    """A process that says less than it should is an error, not a checkpoint."""
    with pytest.raises(PtEvalError, match=r"the processes hold 6 values of w, which has the shape \(5, 2\)"):
        index_of([part(torch.ones(3, 2), 0)], ["one.pt"])


# --- with a process group, of one process -------------------------------------------------------


@pytest.fixture
def mesh() -> Iterator[DeviceMesh]:
    """A process group of this process alone."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,))
    dist.destroy_process_group()


class Net(nn.Module):
    """Tied weights, a buffer that is not saved, and an attribute that holds the module itself."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(3, 3), nn.ReLU())
        self.last = nn.Linear(3, 3, bias=False)
        self.last.weight = self.inner[0].weight
        self.register_buffer("scale", torch.full((3,), 2.0), persistent=False)
        self.me = [self]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Use all of it."""
        return self.last(self.inner(x)) * self.scale


def build(mesh: DeviceMesh | None, seed: int = 0) -> tuple[nn.Module, torch.optim.Optimizer]:
    """Make a net and its optimizer, sharded over *mesh* if there is one."""
    torch.manual_seed(seed)
    net = Net()
    if mesh is not None:
        fully_shard(net, mesh=mesh)
    return net, torch.optim.Adam(net.parameters(), lr=0.1)


def step(net: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Train a little, so that the optimizer has a state."""
    net(torch.ones(2, 3)).sum().backward()
    optimizer.step()
    optimizer.zero_grad()


def test_a_sharded_state_goes_through_files_and_comes_back(mesh, tmp_path):
    """Saved in parts, taken up by objects that are sharded and by ones that are not, bit for bit."""
    net, optimizer = build(mesh)
    step(net, optimizer)
    assert check_sharding({"model": net, "optimizer": optimizer}, 1)
    rest, shard = take_shard(capture_state({"model": net, "optimizer": optimizer}))
    copied = Buffers().copy({"rest": rest, "shard": shard.tensors})
    save_tree(copied["shard"], tmp_path / "one.pt")
    save_tree({**copied["rest"], "shards": index_of([shard.described()], ["one.pt"])}, tmp_path / "state.pt")
    tree, found = load_tree(tmp_path / "state.pt"), []
    for like in (mesh, None):
        state = dict(zip(("model", "optimizer"), build(like, seed=1), strict=True))
        assert check_sharding(state, 1) == (like is not None)
        restore_state(take_up_shards(tree, state, lambda file: tmp_path / file), state)
        found.append(plain(capture_state(state)))
    assert first_difference(plain(capture_state({"model": net, "optimizer": optimizer})), found[0]) is None
    assert first_difference(found[0], found[1]) is None


def test_a_whole_state_is_shared_out(mesh):
    """A checkpoint of an unsharded training is taken up by a sharded one."""
    net, optimizer = build(None)
    step(net, optimizer)
    tree = Buffers().copy(capture_state({"model": net, "optimizer": optimizer}))
    state = dict(zip(("model", "optimizer"), build(mesh, seed=1), strict=True))
    restore_state(take_up_shards(tree, state, lambda file: pytest.fail(file)), state)
    assert isinstance(next(state["model"].parameters()), DTensor)
    assert first_difference(plain(capture_state(state)), plain(tree)) is None


def test_a_sharded_module_is_copied_as_it_was_before(mesh):
    """Its own classes, whole weights, tied ones tied; the live one stays sharded and gives the same."""
    net, _ = build(mesh)
    weights = plain(net.state_dict())
    made = frozen_copy(net, weights)
    assert [type(module) for module in made.modules()] == [Net, nn.Sequential, nn.Linear, nn.ReLU, nn.Linear]
    assert made.last.weight is made.inner[0].weight
    assert made.me == [made]
    assert not any("fsdp" in key or "composable" in key for module in made.modules() for key in vars(module))
    x = torch.randn(2, 3)
    assert torch.equal(made(x), net.eval()(x))
    assert all(isinstance(value, DTensor) for value in net.state_dict().values())
    assert torch.export.export(made, (x,)).module()(x).equal(made(x))


def test_a_sharded_module_without_weights_is_no_candidate(mesh):
    """One process's part is not a model."""
    with pytest.raises(RegistrationFailed, match="this process holds only a part of the model's weights"):
        frozen_copy(build(mesh)[0])


def test_other_kinds_of_sharding_are_refused_by_name(mesh):
    """The older FSDP, a mesh of more dimensions or of other processes, and parameters that something else sharded."""
    net = build(None)[0]
    with pytest.warns(UserWarning, match="world size is 1"):
        older = FullyShardedDataParallel(nn.Linear(2, 2), device_id=torch.device("cpu"))
    with pytest.raises(BadInput, match=r"state\['model'\] holds a FullyShardedDataParallel.*What works are"):
        check_sharding({"model": older}, 1)
    two = init_device_mesh("cpu", (1, 1), mesh_dim_names=("replicate", "shard"))
    with pytest.raises(BadInput, match=r"state\['model'\]: inner.0.weight lies on a mesh \(1, 1\) of 1 processes"):
        check_sharding({"model": build(two)[0]}, 1)
    with pytest.raises(BadInput, match=r"lies on a mesh \(1,\) of 4 processes"):
        check_sharding({"model": build(mesh)[0]}, 4)
    for placement, said in ((Shard(0), "something else than fully_shard"), (Replicate(), "as \\(Replicate")):
        net.last.weight = nn.Parameter(distribute_tensor(torch.ones(3, 3), mesh, [placement]))
        with pytest.raises(BadInput, match=said):
            check_sharding({"model": net}, 1)


def test_a_sharded_metric_is_read_at_once(mesh):
    """What clip_grad_norm_ gives is read with all processes, not later on a thread of one."""
    net, _ = build(mesh)
    net(torch.ones(2, 3)).sum().backward()
    norm = nn.utils.clip_grad_norm_(net.parameters(), 1.0)
    assert isinstance(norm, DTensor)
    assert step_value("grad_norm", norm) == norm.full_tensor().item()


def test_parts_in_a_list_are_refused(mesh):
    """Only mappings can be kept without some of their values."""
    tensor = distribute_tensor(torch.ones(3), mesh, [Shard(0)])
    with pytest.raises(BadInput, match=r"own_state_dict\.a\.0 is held in parts by several processes"):
        take_shard({"own_state_dict": {"a": [tensor]}})


def plain(value: Any) -> Any:
    """Return a state with whole tensors."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return value.detach().full_tensor().clone() if isinstance(value, DTensor) else value

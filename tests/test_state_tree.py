"""`capture_state` and `restore_state`: bit for bit, checked first, readable without this library."""

from __future__ import annotations

import random
import re
from collections import Counter, deque

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler as lr

from mlflow_pt_eval.errors import BadInput, StateMismatch
from mlflow_pt_eval.state import (
    Buffers,
    capture_rng,
    capture_state,
    first_difference,
    load_tree,
    restore_state,
    save_tree,
)


def captured(state):
    """Return what a checkpoint of these objects holds."""
    return Buffers().copy(capture_state(state))


class Net(nn.Module):
    """Dropout, batch norm, a tied weight, a buffer that no state_dict holds, and an extra state."""

    def __init__(self, width=4, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.first = nn.Linear(3, width)
        self.norm = nn.BatchNorm1d(width)
        self.drop = nn.Dropout(0.3)
        self.last = nn.Linear(width, 3)
        self.tied = nn.Linear(3, width)
        self.tied.weight = self.first.weight
        self.register_buffer("cache", torch.zeros(2), persistent=False)
        self.seen = {"count": np.int64(0), "names": {frozenset({"x"})}}

    def forward(self, x):
        self.seen["count"] += 1
        return self.last(self.drop(self.norm(self.first(x) + self.tied(x))))

    def get_extra_state(self):
        return self.seen

    def set_extra_state(self, state):
        self.seen = state


class Mine:
    """A user's own object with a state of many types."""

    def __init__(self):
        self.state = None

    def fill(self):
        self.state = {
            "array": np.arange(4.0),
            "scalar": np.float32(0.1),
            "nested": [(1, {2, 3}), {"deep": (np.array("x"), None)}],
            3: "int", "text": "str", 0.5: "float", False: "bool", (1, "a"): "tuple",
            "counter": Counter("aab"), "last": deque([1.5], maxlen=3), "tensor": torch.ones(2),
        }  # fmt: skip
        return self

    def state_dict(self):
        return self.state

    def load_state_dict(self, state_dict):
        self.state = state_dict


def train(model, optimizer, scheduler=None, steps=3, seed=7):
    """Make some steps on random data and return the outputs' sum."""
    torch.manual_seed(seed)
    total = torch.zeros(())
    for _ in range(steps):

        def loss():
            optimizer.zero_grad()
            value = model(torch.randn(8, 3)).square().mean()
            value.backward()
            return value

        value = optimizer.step(loss)
        total += value.detach()
        if isinstance(scheduler, lr.ReduceLROnPlateau):
            scheduler.step(value.detach())
        elif scheduler is not None:
            scheduler.step()
    return total


def roundtrip(state, path):
    """Capture, copy, save and load."""
    save_tree(captured(state), path)
    return load_tree(path)


class Warm:
    """A learning rate's factor, as an object with a state."""

    def __init__(self, slope=0.1):
        self.slope = slope
        self.calls = 0

    def __call__(self, step):
        self.calls += 1
        return 1 / (1 + self.slope * step)


def sequential(optimizer):
    parts = [lr.LinearLR(optimizer, total_iters=2), lr.MultiStepLR(optimizer, [1, 3])]
    return lr.SequentialLR(optimizer, parts, milestones=[2])


SCHEDULERS = {
    "LambdaLR object": lambda o: lr.LambdaLR(o, Warm()),
    "LambdaLR function": lambda o: lr.LambdaLR(o, lambda step: 0.9**step),
    "MultiplicativeLR": lambda o: lr.MultiplicativeLR(o, Warm()),
    "StepLR": lambda o: lr.StepLR(o, 2),
    "MultiStepLR": lambda o: lr.MultiStepLR(o, [1, 2, 2, 4]),
    "ConstantLR": lambda o: lr.ConstantLR(o, total_iters=4),
    "LinearLR": lambda o: lr.LinearLR(o),
    "ExponentialLR": lambda o: lr.ExponentialLR(o, 0.9),
    "PolynomialLR": lambda o: lr.PolynomialLR(o),
    "CosineAnnealingLR": lambda o: lr.CosineAnnealingLR(o, 5),
    "ChainedScheduler": lambda o: lr.ChainedScheduler([lr.StepLR(o, 2), lr.ExponentialLR(o, 0.9)]),
    "SequentialLR": sequential,
    "ReduceLROnPlateau": lambda o: lr.ReduceLROnPlateau(o, patience=0),
    "CyclicLR": lambda o: lr.CyclicLR(o, 1e-3, 1e-1, step_size_up=2, mode="exp_range", gamma=0.9),
    "CyclicLR object": lambda o: lr.CyclicLR(o, 1e-3, 1e-1, step_size_up=2, scale_fn=Warm()),
    "OneCycleLR": lambda o: lr.OneCycleLR(o, 0.1, total_steps=20),
    "CosineAnnealingWarmRestarts": lambda o: lr.CosineAnnealingWarmRestarts(o, 2, 2),
    "SWALR": lambda o: torch.optim.swa_utils.SWALR(o, 0.01, anneal_epochs=3),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:.*lr_scheduler.step.*before", "ignore:.*Seems like", "ignore:.*epoch parameter")
@pytest.mark.parametrize("name", SCHEDULERS)
def test_every_scheduler_goes_on_exactly(name, tmp_path):
    """In a process that has only built it; momentum is cycled too where it is."""

    def build(seed):
        model = Net(seed=seed)
        optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
        return {"model": model, "optimizer": optimizer, "scheduler": SCHEDULERS[name](optimizer)}

    old, new = build(0), build(1)
    train(*old.values())
    tree = roundtrip(old, tmp_path / "state.pt")
    report = restore_state(tree, new)
    assert report.complete
    assert torch.equal(train(*old.values()), train(*new.values()))
    assert first_difference(captured(old), captured(new)) is None
    assert new["scheduler"].get_last_lr() == old["scheduler"].get_last_lr()


OPTIMIZERS = {
    "Adam": lambda p: torch.optim.Adam(p, 0.01),
    "Adam with a tensor as rate": lambda p: torch.optim.Adam(p, torch.tensor(0.01)),
    "AdamW amsgrad": lambda p: torch.optim.AdamW(p, 0.01, amsgrad=True),
    "AdamW fused": lambda p: torch.optim.AdamW(p, 0.01, fused=True),
    "SGD": lambda p: torch.optim.SGD(p, 0.01),
    "SGD nesterov": lambda p: torch.optim.SGD(p, 0.01, momentum=0.9, nesterov=True),
    "Adagrad": lambda p: torch.optim.Adagrad(p, 0.01),
    "Adadelta": lambda p: torch.optim.Adadelta(p, 0.01),
    "Adafactor": lambda p: torch.optim.Adafactor(p, 0.01),
    "Adamax": lambda p: torch.optim.Adamax(p, 0.01),
    "ASGD": lambda p: torch.optim.ASGD(p, 0.01),
    "LBFGS": lambda p: torch.optim.LBFGS(p, 0.01, max_iter=3),
    "NAdam": lambda p: torch.optim.NAdam(p, 0.01),
    "RAdam": lambda p: torch.optim.RAdam(p, 0.01),
    "RMSprop": lambda p: torch.optim.RMSprop(p, 0.01, centered=True, momentum=0.5),
    "Rprop": lambda p: torch.optim.Rprop(p, 0.01),
}  # fmt: skip


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_goes_on_exactly(name, dtype, tmp_path):
    """Whatever it keeps, in whatever dtype."""
    if dtype is torch.bfloat16 and name == "LBFGS":
        pytest.skip("its line needs more digits")

    def build(seed):
        model = Net(seed=seed).to(dtype)
        return {"model": model, "optimizer": OPTIMIZERS[name](model.parameters())}

    def go(state):
        torch.set_default_dtype(dtype)
        try:
            return train(*state.values())
        finally:
            torch.set_default_dtype(torch.float32)

    old, new = build(0), build(1)
    go(old)
    restore_state(roundtrip(old, tmp_path / "state.pt"), new)
    assert first_difference(captured(old), captured(new)) is None
    assert torch.equal(go(old), go(new))
    assert first_difference(captured(old), captured(new)) is None


class Master(torch.optim.Optimizer):
    """Keeps float32 weights for bfloat16 parameters, as mixed-precision optimizers do."""

    def __init__(self, parameters):
        super().__init__(parameters, {"lr": 0.01})

    @torch.no_grad()
    def step(self, closure=None):
        with torch.enable_grad():
            loss = None if closure is None else closure()
        for parameter in self.param_groups[0]["params"]:
            master = self.state[parameter].setdefault("master", parameter.float())
            master -= 0.01 * parameter.grad.float()
            parameter.copy_(master)
        return loss


def test_an_optimizers_state_keeps_its_dtype(tmp_path):
    """torch casts it to the parameters' dtype on loading, which would round the weights that count."""

    def build(seed):
        torch.manual_seed(seed)
        model = nn.Linear(3, 3).bfloat16()
        return {"model": model, "optimizer": Master(model.parameters())}

    def go(state):
        for _ in range(3):
            state["optimizer"].zero_grad()
            state["optimizer"].step(lambda: state["model"](torch.ones(2, 3).bfloat16()).square().sum().backward())

    old, new = build(0), build(1)
    go(old)
    tree = roundtrip(old, tmp_path / "state.pt")
    restore_state(tree, new)
    assert first_difference(captured(new), tree) is None
    go(old), go(new)
    assert first_difference(captured(new), captured(old)) is None


@pytest.mark.filterwarnings("ignore:.*GradScaler is enabled, but CUDA")
def test_a_grad_scaler_goes_on(tmp_path):
    """Its scale and its growth count; one that is switched off has no state, which is a state too."""
    for enabled in (True, False):
        old, new = torch.amp.GradScaler("cpu", enabled=enabled), torch.amp.GradScaler("cpu", enabled=enabled)
        if enabled:
            parameter = nn.Parameter(torch.ones(1))
            optimizer = torch.optim.SGD([parameter], 0.1)
            old.scale(parameter.sum() * torch.inf).backward()
            old.step(optimizer)
            old.update()
        tree = roundtrip({"model": Net(), "scaler": old}, tmp_path / "state.pt")
        restore_state(tree, {"model": Net(), "scaler": new})
        assert new.state_dict() == old.state_dict()
        assert first_difference(tree["scaler_state_dict"], old.state_dict()) is None


def test_an_object_of_ones_own_goes_on(tmp_path):
    """With numbers of NumPy, sets, tuples and any keys, as the types that they were."""
    old, new = Mine().fill(), Mine()
    tree = roundtrip({"model": Net(), "mine": old}, tmp_path / "state.pt")
    restore_state(tree, {"model": Net(), "mine": new})
    assert first_difference(new.state, old.state) is None
    assert type(new.state["scalar"]) is np.float32
    assert new.state["last"].maxlen == 3


def test_the_model_is_its_own_part_tied_extra_and_all(tmp_path):
    """Extra state comes back through `set_extra_state`, tied weights stay tied, what isn't saved is named."""
    old, new = Net(seed=0), Net(seed=1)
    train(old, torch.optim.SGD(old.parameters(), 0.1))
    report = restore_state(roundtrip({"model": old}, tmp_path / "state.pt"), {"model": new})
    assert new.seen == {"count": 3, "names": {frozenset({"x"})}}
    assert type(new.seen["count"]) is np.int64
    assert new.tied.weight is new.first.weight
    assert report.not_saved == ("model.cache",)
    assert str(report) == "restored: model_state_dict; not saved: model.cache"


def test_a_person_can_read_it_without_this_library(tmp_path):
    """The textbook's names, in plain state_dicts, with torch alone and without an allow-list."""
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    optimizer = torch.optim.AdamW(model.parameters())
    scheduler = lr.MultiStepLR(optimizer, [1, 3])
    train(model, optimizer, scheduler)
    state = {"model": model, "optimizer": optimizer, "scheduler": scheduler}
    save_tree(captured(state), tmp_path / "state.pt")

    checkpoint = torch.load(tmp_path / "state.pt", weights_only=True)
    other = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    other.load_state_dict(checkpoint["model_state_dict"])
    adam = torch.optim.AdamW(other.parameters())
    adam.load_state_dict(checkpoint["optimizer_state_dict"])
    steps = lr.MultiStepLR(adam, [1, 3])
    steps.load_state_dict(checkpoint["scheduler_state_dict"])
    assert torch.equal(train(other, adam, steps), train(model, optimizer, scheduler))


def test_capturing_and_restoring_draw_no_random_numbers():
    """Also if an object's own methods do, on restoring."""

    class Drawing(Mine):
        def load_state_dict(self, state_dict):
            random.random(), np.random.rand(), torch.rand(1)  # noqa: NPY002
            super().load_state_dict(state_dict)

    state = {"model": Net(), "mine": Drawing().fill()}
    before = capture_rng()
    restore_state(captured(state), state)
    assert first_difference(before, capture_rng()) is None


def test_the_tree_shares_nothing_with_what_was_restored():
    """Training on must not change the tree: another restore, or a comparison, may follow."""
    state = {"model": Net(), "mine": Mine().fill()}
    state["optimizer"] = torch.optim.Adam(state["model"].parameters())
    state["scheduler"] = lr.MultiStepLR(state["optimizer"], [1])
    train(state["model"], state["optimizer"], state["scheduler"])
    tree, untouched = (captured(state) for _ in range(2))
    restore_state(tree, state)
    train(state["model"], state["optimizer"], state["scheduler"])
    state["mine"].state["tensor"] += 1
    state["mine"].state["nested"].append(1)
    state["model"].seen["names"].clear()
    assert first_difference(tree, untouched) is None


# --- mismatches --------------------------------------------------------------------------------


def saved():
    """Return a tree and the live objects that fit it."""
    model = Net()
    optimizer = torch.optim.Adam(model.parameters())
    state = {"model": model, "optimizer": optimizer, "scheduler": lr.StepLR(optimizer, 1)}
    train(*state.values())
    return captured(state), state


def other_optimizer(model):
    return torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)


def reordered(model):
    return torch.optim.Adam(reversed(list(model.parameters())))


def two_groups(model):
    return torch.optim.Adam([{"params": model.first.parameters()}, {"params": model.last.parameters()}])


MISFITS = {
    "shapes": (
        lambda s: {**s, "model": Net(width=5)},
        r"model_state_dict\.first\.weight \(shape \(4, 3\) in .*\(5, 3\) h",
    ),
    "dtype": (
        lambda s: {**s, "model": Net().double()},
        r"last\.bias \(torch\.float32 in the ch.*, torch\.float64 here",
    ),
    "missing part": (
        lambda s: {**s, "model": nn.Sequential(Net())},
        r"missing: model_state_dict\.0\._extra.*first\.weight, ",
    ),
    "unexpected part": (
        lambda s: {**s, "model": nn.Linear(3, 4)},
        r"unexpected: model_state_dict\._extra.*first\.weight, ",
    ),
    "new object": (lambda s: {**s, "ema": Net()}, "missing: ema_state_dict"),
    "object gone": (lambda s: {k: s[k] for k in ("model", "optimizer")}, "unexpected: scheduler_state_dict"),
    "fewer parameters": (
        lambda s: {**s, "optimizer": torch.optim.Adam(s["model"].first.parameters())},
        r"optimizer_state_dict\.param_groups\.0\.params \(7 parameters in the checkpoint, 2 here\)",
    ),
    "groups": (lambda s: {**s, "optimizer": two_groups(s["model"])}, r"param_groups \(1 groups in the .*, 2 here\)"),
    "kind of optimizer": (
        lambda s: {**s, "optimizer": other_optimizer(s["model"])},
        r"param_groups\.0 \(another optimizer: amsgrad, betas.* in the checkpoint, dampening, .* here\)",
    ),
    "order of parameters": (
        lambda s: {**s, "optimizer": reordered(s["model"])},
        r"optimizer_state_dict\.state\.0\.exp_avg \(shape \(4, 3\) in the checkpoint, the parameter has \(4,\)\)",
    ),
    "kind of scheduler": (
        lambda s: {**s, "scheduler": lr.CosineAnnealingLR(s["optimizer"], 3)},
        r"missing: scheduler_state_dict\.T_max, .*unexpected: scheduler_state_dict\.gamma, scheduler_state_dict\.step",
    ),
    "no optimizer's state": (
        lambda s: {**s, "scheduler": torch.optim.SGD(s["model"].parameters())},
        "no state of an op",
    ),
}


@pytest.mark.parametrize("name", MISFITS)
def test_a_misfit_is_named_before_anything_is_changed(name):
    """Every part, by the name that it has in the tree; the live objects are as they were."""
    tree, state = saved()
    change, said = MISFITS[name]
    live = change(state)
    train(live["model"], live["optimizer"], steps=0)
    before = captured(live)
    with pytest.raises(StateMismatch, match=said):
        restore_state(tree, live)
    assert first_difference(before, captured(live)) is None


@pytest.mark.parametrize("name", MISFITS)
def test_told_so_what_fits_is_restored_and_the_rest_reported(name):
    """With strict=False; and what could not be restored is as it was."""
    tree, state = saved()
    change, said = MISFITS[name]
    report = restore_state(tree, change(state), strict=False)
    assert not report.complete
    assert re.search(said, str(report))
    assert ("model_state_dict" in report.restored) == (name not in ("missing part", "unexpected part"))


def test_parts_that_fit_are_restored_beside_those_that_dont():
    """Transfer to a model with another head."""
    tree, _ = saved()
    live = Net(seed=3)
    live.last = nn.Linear(4, 7)
    head = live.last.weight.detach().clone()
    report = restore_state({"model_state_dict": tree["model_state_dict"]}, {"model": live}, strict=False)
    assert torch.equal(live.first.weight, tree["model_state_dict"]["first.weight"])
    assert torch.equal(live.last.weight, head)
    assert [name.split(" ")[0] for name in report.different] == [
        "model_state_dict.last.weight",
        "model_state_dict.last.bias",
    ]


def test_all_misfits_are_named_at_once():
    """Nobody wants to find them one by one."""
    tree, state = saved()
    del tree["scheduler_state_dict"]["gamma"], tree["model_state_dict"]["norm.bias"]
    tree["model_state_dict"]["more"] = torch.ones(1)
    with pytest.raises(StateMismatch, match=r"norm\.bias.*gamma.*unexpected.*more"):
        restore_state(tree, state)


def test_an_object_that_refuses_its_state_is_named():
    """Only it can know; the message says what may have happened to the others."""

    class Picky(Mine):
        def load_state_dict(self, state_dict):
            raise KeyError("speed")

    state = {"model": Net(), "picky": Picky().fill()}
    with pytest.raises(StateMismatch, match=r"'picky' \(Picky\) did not take its state: KeyError: 'speed'"):
        restore_state(captured(state), state)


def test_lazy_parts_take_their_shape_from_the_checkpoint():
    """A lazy module has none before its first batch."""
    old, new = nn.Sequential(nn.LazyLinear(2)), nn.Sequential(nn.LazyLinear(2))
    old(torch.ones(1, 3))
    restore_state(captured({"model": old}), {"model": new})
    assert torch.equal(old[0].weight, new[0].weight)


# --- what can be captured ----------------------------------------------------------------------

REFUSED = [
    ({"optimizer": Net()}, "must have the key 'model'; it has: optimizer"),
    ({}, "it has: nothing"),
    ({"model": Net(), "a b": Net()}, "'a b'"),
    ({"model": Net(), 3: Net()}, "key 3"),
    ({"model": Net(), "": Net()}, "key ''"),
    ({"model": Net(), "lr": 0.1}, r"state\['lr'\] is a float without state_dict\(\)"),
]


@pytest.mark.parametrize(("state", "said"), REFUSED)
def test_a_state_that_cannot_be_is_refused_at_once(state, said):
    """By capture and by restore alike, before the first batch."""
    for attempt in (lambda: captured(state), lambda: restore_state({}, state)):
        with pytest.raises(BadInput, match=said):
            attempt()


@pytest.mark.parametrize("key", ["epoch", "step", "loss", "rng", "progress"])
def test_no_key_is_in_the_way_of_the_trees_own(key):
    """Each gets a suffix."""
    assert set(captured({"model": Net(), key: Net()})) == {"model_state_dict", f"{key}_state_dict"}


def test_what_cannot_be_held_is_named_with_its_place():
    """A scheduler that keeps a function, deep in its own dict."""
    mine = Mine()
    mine.state = {"fn": [len]}
    with pytest.raises(BadInput, match=r"^scheduler_state_dict\.fn\.0 is a builtin_function_or_method"):
        captured({"model": Net(), "scheduler": mine})


def test_an_uninitialised_model_is_refused():
    """It has no weights to capture yet."""
    with pytest.raises(BadInput, match=r"model_state_dict\.weight is a .*UninitializedParameter"):
        captured({"model": nn.LazyLinear(2)})


class Sparse:
    """An object that holds sparse tensors, of which torch has deep copies only for some layouts."""

    def __init__(self, scale):
        dense = torch.eye(4) * scale
        self.state = {
            "csr": dense.to_sparse_csr(),
            "in": [{"bsr": dense.to_sparse_bsr((2, 2))}],
            "coo": dense.to_sparse(),
        }

    def state_dict(self):
        return self.state

    def load_state_dict(self, state):
        self.state = state


@pytest.mark.filterwarnings("ignore:Sparse (CSR|BSR) tensor support is in beta")
def test_sparse_tensors_are_restored_and_not_shared():
    """In any layout, also in containers."""
    tree, live = captured({"model": nn.Linear(1, 1), "s": Sparse(2)}), Sparse(1)
    restore_state(tree, {"model": nn.Linear(1, 1), "s": live})
    assert first_difference(live.state, Sparse(2).state) is None
    live.state["csr"].values().zero_()
    live.state["in"][0]["bsr"].values().zero_()
    restore_state(tree, {"model": nn.Linear(1, 1), "s": live})
    assert first_difference(live.state, Sparse(2).state) is None

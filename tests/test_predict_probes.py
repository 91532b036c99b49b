"""What is asked a second time, and what is said where the answer is another one."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset, default_collate

from mlflow_pt_eval.evaluation import evaluate
from mlflow_pt_eval.predict import predict
from mlflow_pt_eval.predict.outputs import Scores
from mlflow_pt_eval.validation import validate

X = torch.randn(60, 4, generator=torch.Generator().manual_seed(1))
Y = torch.arange(60) % 3
INPUTS, OUTPUTS = "gives other inputs when a sample is read again", "gives other outputs for the same samples"


class Items(Dataset):
    """Samples one by one, each changed by *transform*."""

    def __init__(self, transform=lambda x: x):
        self.transform, self.asked = transform, 0

    def __len__(self):
        return len(X)

    def __getitem__(self, index):
        self.asked += 1
        return self.transform(X[index]), int(Y[index])


def notes(model, data, **options):
    return predict(model.eval(), data, outputs="logits", **options).notes


def test_random_transforms_are_said_and_cost_four_samples(caplog):
    """A data set that is another one each time has another digest, and numbers that nothing can be compared with."""
    noisy, plain = Items(lambda x: x + torch.rand(4)), Items()
    assert INPUTS in notes(nn.Linear(4, 3), DataLoader(noisy, batch_size=20))[0]
    assert notes(nn.Linear(4, 3), DataLoader(plain, batch_size=20)) == ()
    assert plain.asked == len(X) + 4
    assert INPUTS in notes(nn.Linear(4, 3), DataLoader(noisy, batch_size=20, num_workers=1))[0]


class Sum(nn.Module):
    """Takes two inputs, by place or by name."""

    def forward(self, one, other):
        return (one + other)[:, :3]


@pytest.mark.parametrize("form", [lambda x: (x, X[0]), lambda x: {"one": X[0], "other": x}], ids=["tuple", "dict"])
def test_random_transforms_of_inputs_with_several_parts_are_said(form):
    """One part that changes is enough."""
    noisy, plain = Items(lambda x: form(x + torch.rand(4))), Items(form)
    assert INPUTS in notes(Sum(), DataLoader(noisy, batch_size=20))[0]
    assert notes(Sum(), DataLoader(plain, batch_size=20)) == ()


def padded(items):
    rows = [row for row, _ in items]
    one, kept = (nn.utils.rnn.pad_sequence([row[name] for row in rows], True) for name in ("one", "kept"))
    return {"one": one, "kept": kept, "labels": torch.tensor([label for _, label in items])}


class Longest(nn.Module):
    """Takes rows that are as long as the longest of a batch."""

    def forward(self, one, kept):
        return one[:, :3] + kept[:, :3]


def test_parts_that_are_padded_to_the_longest_in_the_batch_are_no_chance():
    """What has another shape alone cannot be compared."""
    given = [({"one": X[i, : 3 + i % 2], "kept": torch.ones(3 + i % 2)}, i % 3) for i in range(20)]
    assert INPUTS not in str(notes(Longest(), DataLoader(given, batch_size=20, collate_fn=padded)))


def test_what_is_asked_again_draws_no_random_number_from_what_comes_later():
    """The other samples are those that they would have been."""
    torch.manual_seed(3)
    seen = []
    noisy = Items(lambda x: x + torch.rand(4))
    predict(nn.Linear(4, 3).eval(), DataLoader(Items(), batch_size=7), outputs="logits")
    torch.manual_seed(3)
    model = nn.Linear(4, 3).eval()
    model.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].clone()))
    torch.manual_seed(4)
    predict(model, DataLoader(noisy, batch_size=20), outputs="logits")
    torch.manual_seed(4)
    expected = list(DataLoader(noisy, batch_size=20))
    assert [len(batch) for batch in seen] == [20, 10, 20, 20]
    assert all(torch.equal(one, other) for one, (other, _) in zip((seen[0], *seen[2:]), expected, strict=True))


def test_not_a_number_is_the_same_as_itself():
    """NaN in an input that the model can do with is no chance."""
    model = nn.Sequential(nn.Identity(), nn.Linear(4, 3))
    model[0].forward = torch.nan_to_num
    given = Items(lambda x: torch.where(x > 0, x, torch.nan))
    assert notes(model, DataLoader(given, batch_size=20)) == ()


class Dropping(nn.Module):
    """Forgets that eval mode ends dropout."""

    def forward(self, x):
        return functional.dropout(x[:, :3])


class ByBatch(nn.Module):
    """Normalises by the batch."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(4, track_running_stats=False)

    def forward(self, x):
        return self.norm(x)[:, :3]


@pytest.mark.parametrize("model", [Dropping(), ByBatch()])
@pytest.mark.parametrize("size", [20, 60])
def test_outputs_that_depend_on_chance_or_on_the_batch_are_said(model, size, caplog):
    """Whatever the numbers are then, another evaluation would have others."""
    assert any(OUTPUTS in note for note in notes(model, (X, Y), batch_size=size))
    assert OUTPUTS in caplog.text
    assert OUTPUTS in evaluate(model, (X, Y), outputs="logits", batch_size=size, log=False).warnings[0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_other_kernels_for_a_smaller_batch_are_no_chance(dtype):
    """Rounding is not what is meant."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 3)).to(dtype)
    assert notes(model, (X.to(dtype), Y)) == ()


def test_a_model_that_gives_one_buffer_again_and_again_is_not_disturbed():
    """The second question comes when the first answer has been taken."""
    buffer = torch.empty(60, 3)

    class Same(nn.Module):
        def forward(self, x):
            return torch.add(x[:, :3], 1, out=buffer[: len(x)])

    found = predict(Same(), (X, Y), outputs="logits", batch_size=20)
    scores = Scores("multiclass", "logits", 3, 60)
    scores.add(X[:, :3] + 1, 60)
    assert (found.scores == scores.finish()).all()
    assert found.notes == ()


class Fixed(nn.Module):
    """Takes one batch size alone."""

    def forward(self, x):
        assert len(x) == 20
        return x[:, :3]


def test_a_model_for_one_batch_size_is_evaluated_with_that():
    """What cannot be asked again is not held against it."""
    assert notes(Fixed(), (X, Y), batch_size=20) == ()


class Trained(nn.Module):
    """Has a method `train` of its own, which is a training."""

    def __init__(self):
        super().__init__()
        self.layers, self.calls = nn.Sequential(nn.Linear(4, 3), nn.Dropout(0.9)), []

    def train(self, loader, epochs=1):
        self.calls.append(loader)

    def forward(self, x):
        return self.layers(x)


class Uncertain(Trained):
    """Keeps its dropout on purpose."""

    def train(self, mode=True):
        nn.Module.train(self, mode)
        self.layers[1].train(True)
        return self


def test_a_training_of_the_models_own_is_not_begun():
    """`eval()` calls `train(False)`, which is no question of modes there."""
    model = Trained()
    assert predict(model, (X, Y), outputs="logits").notes == ()
    validate(model, [(X, Y)])
    assert model.calls == []
    assert model.training
    assert model.layers[1].training


def test_modules_that_stay_in_training_mode_are_named():
    """Monte Carlo dropout is a choice; that it is in the numbers has to be said."""
    model = Uncertain()
    found = predict(model, (X, Y), outputs="logits")
    assert found.notes[0] == "the model's eval() leaves layers.1 in training mode"
    assert OUTPUTS in found.notes[1]


@pytest.mark.parametrize("script", [torch.jit.script, lambda model: torch.jit.trace(model.eval(), X)])
def test_a_torchscript_model_with_buffers_is_evaluated(script):
    """Its buffers are other objects each time they are asked for."""
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)).eval()
    with pytest.warns(DeprecationWarning, match="torch.jit"):
        scripted = script(model)
    expected = predict(model, (X, Y), outputs="logits").scores
    assert (predict(scripted, (X, Y), outputs="logits").scores == expected).all()


def without_nones(items):
    return default_collate([item for item in items if item is not None])


class Gaps(Items):
    """Cannot read its fourth sample."""

    def __getitem__(self, index):
        return None if index == 3 else super().__getitem__(index)


def test_samples_that_a_collate_function_leaves_out_are_counted(caplog):
    """Which ones they are cannot be known, so no picture is shown of those with the numbers after them."""
    loader = DataLoader(Gaps(lambda x: x.repeat(36).reshape(12, 12)), batch_size=20, collate_fn=without_nones)
    model = nn.Sequential(nn.Flatten(), nn.Linear(144, 3))
    found = predict(model, loader, outputs="logits")
    assert len(found.labels) == 59
    assert found.notes[-1].startswith("59 of the data set's 60 samples came out of the loader")
    assert INPUTS not in caplog.text

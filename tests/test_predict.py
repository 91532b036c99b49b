"""Predicting: every sample once, the right scores, and a model, its data and all random numbers as they were."""

from __future__ import annotations

import copy
import gc
import random
import threading
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from mlflow_pt_eval.data import digest, load_data
from mlflow_pt_eval.errors import BadInput
from mlflow_pt_eval.predict import predict

X = torch.randn(50, 4, generator=torch.Generator().manual_seed(3))
Y = torch.arange(50) % 3


class Given(nn.Module):
    """Returns its inputs: its outputs are what the test says."""

    def forward(self, x):
        return x


class Items(Dataset):
    """Samples one by one, each drawing a random number of every kind."""

    def __len__(self):
        return len(Y)

    def __getitem__(self, index):
        random.random(), np.random.rand(), torch.rand(1)  # noqa: NPY002
        return X[index], Y[index]


def everything(model):
    """Copy what must not change."""
    return {name: value.clone() for name, value in model.state_dict().items()}, [m.training for m in model.modules()]


def test_scores_are_those_of_the_eager_model(tiny):
    """In eval mode, whatever mode the model is in."""
    tiny.train()
    found = predict(tiny, (X, Y), outputs="logits", batch_size=7)
    expected = tiny.eval()(X).softmax(1)
    torch.testing.assert_close(torch.from_numpy(found.scores), expected, rtol=1e-6, atol=1e-7)
    assert found.scores.dtype == np.float32
    assert found.labels.tolist() == Y.tolist()
    assert (found.task, found.outputs, found.loss, found.digest) == ("multiclass", "logits", None, None)
    assert found.samples_per_second > 0


def test_predicting_leaves_the_model_and_the_random_numbers_alone(tiny):
    """Each submodule's mode, parameters, buffers; Python's, NumPy's, torch's and the loader's generators."""
    tiny.train()
    tiny.layers[1].eval()  # a frozen batch norm
    loader = DataLoader(Items(), batch_size=8, shuffle=True, generator=torch.Generator().manual_seed(5))
    before, modes = everything(tiny)
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()  # noqa: NPY002
    private = loader.generator.get_state()
    predict(tiny, loader, outputs="logits")
    after, modes_after = everything(tiny)
    assert modes_after == modes
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert random.getstate() == states[0]
    assert np.random.get_state()[1].tolist() == states[1]  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), states[2])
    assert torch.equal(loader.generator.get_state(), private)


@pytest.mark.parametrize(("before", "within"), [(700, 5000), (0, 0), (60_000, 60_000)])
def test_python_looks_for_garbage_as_often_as_before(tiny, before, within):
    """Seldom while samples come and go, and never more often than the caller has it; also after an error."""
    seen = []

    class Failing(Items):
        def __getitem__(self, index):
            seen.append(gc.get_threshold())
            return (X[index], Y[index]) if index < len(Y) - 1 else (X[index], torch.tensor(0.5))

    usual = gc.get_threshold()
    try:
        gc.set_threshold(before, 11, 12)
        with pytest.raises((BadInput, RuntimeError)):
            predict(tiny, DataLoader(Failing(), batch_size=7), outputs="logits")
        assert set(seen) == {(within, 11, 12)}
        assert gc.get_threshold() == (before, 11, 12)
    finally:
        gc.set_threshold(*usual)


@pytest.mark.parametrize("same", [True, False])
def test_threads_do_not_switch_each_others_model_back(tiny, same):
    """Two passes that overlap, the one begun first ending first: each in eval mode, and all settings as before."""
    tiny.train()
    other = tiny if same else copy.deepcopy(tiny)
    threshold, seen, scores = gc.get_threshold(), [], {}
    begun, overlapping, ended = threading.Event(), threading.Event(), threading.Event()

    class Meeting(Items):
        """In its middle it says so, and waits for what the other thread says."""

        def __init__(self, model, say, hear, patience):
            self.model, self.say, self.hear, self.patience = model, say, hear, patience

        def __getitem__(self, index):
            if index == 8:
                self.say.set()
                self.hear.wait(self.patience)
            seen.append(self.model.training)
            return super().__getitem__(index)

    def second():
        begun.wait(20)
        data = DataLoader(Meeting(other, overlapping, ended, 20), batch_size=8)
        scores["second"] = predict(other, data, outputs="logits").scores

    thread = threading.Thread(target=second)
    thread.start()
    # With one model the second pass waits for the first to end, so that the first need not wait long for it.
    data = DataLoader(Meeting(tiny, begun, overlapping, 0.3 if same else 20), batch_size=8)
    scores["first"] = predict(tiny, data, outputs="logits").scores
    ended.set()
    thread.join()
    assert not any(seen)
    assert all(module.training for module in (*tiny.modules(), *other.modules()))
    assert gc.get_threshold() == threshold
    alone = predict(tiny, DataLoader(Items(), batch_size=8), outputs="logits").scores
    assert np.array_equal(scores["first"], alone)
    assert np.array_equal(scores["second"], alone)


def test_modes_come_back_after_an_error(tiny):
    """Also when the data is wrong in the middle of it."""
    tiny.train()
    with pytest.raises(BadInput):
        predict(tiny, (torch.full((3, 4), torch.nan), Y[:3]))
    assert all(module.training for module in tiny.modules())


def test_an_exported_graph_has_no_mode_to_switch(tiny):
    """Its eval() raises; beside it, in a model of the user's, dropout must be switched all the same."""
    graph = torch.export.export(tiny.eval(), (X[:2],), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},)).module()
    around = nn.Sequential(nn.Dropout(0.9), graph, nn.Dropout(0.9))
    assert around.training
    expected = tiny(X).softmax(1).detach().numpy()
    for model in (graph, around):
        np.testing.assert_allclose(predict(model, (X, Y), outputs="logits").scores, expected, rtol=1e-6)
    assert all(module.training for module in (around, around[0], around[2]))


@pytest.mark.parametrize("width", [2, 3, 15, 16, 40])
def test_scores_do_not_depend_on_how_the_samples_are_cut(width):
    """To the last bit: metrics are then identical for any batch size."""
    logits = torch.randn(20_000, width, generator=torch.Generator().manual_seed(0)) * 5
    labels = torch.zeros(20_000, dtype=torch.int64)
    sizes = [predict(Given(), (logits, labels), batch_size=size, outputs="logits").scores for size in (20_000, 311, 64)]
    assert all(np.array_equal(sizes[0], other) for other in sizes[1:])
    np.testing.assert_allclose(sizes[0], logits.double().softmax(1).numpy(), rtol=2e-6, atol=1e-12)


@pytest.mark.parametrize("width", [16, 17, 100, 1000])
def test_scores_of_many_classes_are_torchs_softmax(width):
    """To the last bit, though they are made where the outputs stand."""
    outputs = torch.randn(300, width, generator=torch.Generator().manual_seed(1)) * 9
    found = predict(Given(), (outputs, torch.arange(300) % width), outputs="logits")
    assert torch.equal(torch.from_numpy(found.scores), outputs.softmax(1))


@pytest.mark.parametrize("samples", [2, 7, 23, 41, 65, 20_000])
@pytest.mark.parametrize(
    ("width", "several"), [(1, False), (2, False), (3, False), (15, False), (16, False), (40, False), (3, True)]
)
def test_equal_outputs_are_ties_wherever_they_stand(samples, width, several):
    """Else a model that says the same of everything would have an AUC beside 0.5, by the order of its samples."""
    for seed in range(10):
        row = torch.randn(1, width, generator=torch.Generator().manual_seed(seed)) * 4
        labels = torch.zeros(samples, width) if several else torch.zeros(samples)
        scores = predict(Given(), (row.repeat(samples, 1), labels), outputs="logits").scores
        assert (scores == scores[0]).all()


def test_one_logit_does_not_depend_on_how_the_samples_are_cut_either():
    """torch's sigmoid of a number depends on where in a tensor the number stands."""
    logits, labels = torch.randn(100_003) * 5, torch.zeros(100_003, dtype=torch.int64)
    one, other = (predict(Given(), (logits, labels), batch_size=n, outputs="logits").scores for n in (100_003, 13))
    assert np.array_equal(one, other)


@pytest.mark.parametrize(
    ("outputs", "labels", "wanted", "task", "columns"),
    [
        (torch.zeros(4), [0, 1, 1, 0], "auto", "binary", 2),
        (torch.zeros(4, 1), [0, 1, 1, 0], "auto", "binary", 2),
        (torch.zeros(4, 1), [[0.0], [1.0], [1.0], [0.0]], "auto", "binary", 2),
        (torch.zeros(4, 2), [0, 1, 1, 0], "auto", "binary", 2),
        (torch.zeros(4, 2), [0, 1, 1, 0], "multiclass", "multiclass", 2),
        (torch.zeros(4, 3), [0, 1, 1, 0], "auto", "multiclass", 3),
        (torch.zeros(4, 2), [[0, 1], [1, 1], [0, 0], [1, 0]], "auto", "multilabel", 2),
    ],
)
def test_the_task_follows_from_shapes(outputs, labels, wanted, task, columns):
    """The stated rule, as a table."""
    found = predict(Given(), (outputs, labels), task=wanted, outputs="logits")
    assert found.task == task
    assert found.scores.shape == (4, columns)
    assert (found.scores == (1 / columns if task != "multilabel" else 0.5)).all() or columns == 3


@pytest.mark.parametrize(
    ("outputs", "labels", "options", "words"),
    [
        (torch.zeros(4, 3), [[0, 1]] * 4, {}, "labels of shape .N, 2. are multilabel, but the model has 3 outputs"),
        (torch.zeros(4, 3), [0, 1, 1, 0], {"task": "binary"}, "task is 'binary', but labels of shape .N,. with 3"),
        (torch.zeros(4), [0, 1, 1, 0], {"task": "multiclass"}, "with one output are binary: leave task="),
        (torch.zeros(4, 1), [[0], [1], [1], [0]], {"task": "multilabel"}, "labels of shape .N,. or .N, 1. with one"),
        (torch.zeros(4, 2), [0, 1, 1, 0], {"task": "multilabel"}, "are binary or multiclass"),
        (torch.zeros(4, 2), [[0, 1]] * 4, {"task": "multiclass"}, "labels of shape .N, K. with 2 outputs are multil"),
        (torch.zeros(4, 3), [0, 1, 3, 0], {}, "label 2 is 3, but the model has 3 outputs"),
        (torch.zeros(4, 3), [0, -1, 2, 0], {}, "label 1 is -1"),
        (torch.zeros(4), [0, 1, 2, 0], {}, "label 2 is 2, but the model tells two classes apart, so labels are 0 or 1"),
        (torch.zeros(4, 3, 3), [0, 1, 1, 0], {}, "float32 of shape .4, 3, 3.*must return float scores"),
        (torch.zeros(4, 3, dtype=torch.int64), [0, 1, 1, 0], {}, "int64 of shape"),
        (torch.zeros(4, 3), [0, 1, 1, 0], {"task": "regression"}, "task is 'regression'; it must be one of auto, bi"),
        (torch.zeros(4, 3), [0, 1, 1, 0], {"outputs": "scores"}, "outputs is 'scores'; it must be one of auto, lo"),
        (torch.zeros(4, 3), [0, 1, 1, 0], {"outputs": "probabilities"}, "sample 0 are all in .0, 1., but add up to 0:"),
        (torch.full((4, 1), 1.5), [0, 1, 1, 0], {"outputs": "probabilities"}, "sample 0 is 1.5 in column 0"),
        (torch.zeros(0, 3), [], {}, "the data .arrays. is empty"),
        (torch.zeros(4, 3), [0, 1, 1, 0], {"device": "gpu"}, "'gpu' is not a device; write cpu, cuda, cuda:1 or auto"),
        (torch.zeros(4, 3), [0, 1, 1, 0], {"device": "cuda"}, "device is cuda, but the model is on cpu"),
    ],
)
def test_what_does_not_fit_is_one_clear_line(outputs, labels, options, words):
    """Which value, which shapes, and what would fit."""
    model = nn.Linear(3, 3) if "device" in options else Given()
    with pytest.raises(BadInput, match=words) as caught:
        predict(model, (outputs, labels), **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("outputs", ["auto", "logits", "probabilities"])
@pytest.mark.parametrize("place", [0, 9_000, 29_999])
def test_the_first_output_that_is_not_finite_is_named(value, outputs, place):
    """Wherever it stands."""
    logits = torch.full((30_000, 10), 0.1)
    logits[place, 7] = logits[29_999, 9] = value
    with pytest.raises(BadInput, match=f"sample {place} is {value} in column 7: every output must be finite"):
        predict(Given(), (logits, torch.zeros(30_000)), outputs=outputs)


def test_finite_outputs_may_be_huge():
    """Their sum overflows float32, they don't."""
    found = predict(Given(), (torch.tensor([[3e38, 3e38], [-3e38, 3e38]]), [0, 1]), outputs="logits")
    assert found.scores.tolist() == [[0.5, 0.5], [0.0, 1.0]]


class TestOutputsAuto:
    """Logits or probabilities: looked at in all samples, and said."""

    def test_probabilities_stay_as_they_are(self, caplog):
        """All in [0, 1], and rows that add up to 1."""
        given = torch.randn(40_000, 10).softmax(1)
        found = predict(Given(), (given, torch.zeros(40_000)))
        assert np.array_equal(found.scores, given.numpy())
        assert found.outputs == "probabilities"
        assert "taken as probabilities" in caplog.text
        assert "taken as probabilities" in found.notes[-1]

    @pytest.mark.parametrize(
        ("size", "words"),
        [(40_000, "probabilities for sample 39321, but not for sample 39999"), (900, "for sample 0, but not .* 899")],
    )
    def test_probabilities_with_a_row_that_is_none_are_refused(self, size, words):
        """No one reading of them all is right; stated, they are taken as they are."""
        given = torch.randn(size, 10).softmax(1)
        given[-1, 0] = 1.5
        with pytest.raises(BadInput, match=words):
            predict(Given(), (given, torch.zeros(size)))
        assert predict(Given(), (given, torch.zeros(size)), outputs="logits").outputs == "logits"

    def test_blocks_of_probabilities_before_one_that_is_none_are_refused(self):
        """Rows that add up to 1 are no chance, however many others follow."""
        given = torch.cat([torch.randn(13_107, 10).softmax(1), 5 * torch.randn(13_107, 10)])
        with pytest.raises(BadInput, match="samples 0 to 13106 could be probabilities, those of the next 13107 cannot"):
            predict(Given(), (given, torch.zeros(len(given))))

    def test_a_sigmoid_for_each_class_is_no_softmax(self, caplog):
        """All in [0, 1], with rows that add up to anything; zeros, as of a layer that was never trained, are logits."""
        with pytest.raises(BadInput, match="a sigmoid for each does not"):
            predict(Given(), (torch.randn(50, 3).sigmoid(), torch.zeros(50)))
        assert predict(Given(), (torch.zeros(50, 3), torch.zeros(50))).outputs == "logits"

    @pytest.mark.parametrize(
        ("given", "labels"), [(torch.randn(50), torch.zeros(50)), (torch.randn(50, 3), torch.zeros(50, 3))]
    )
    def test_logarithms_of_probabilities_are_doubted(self, given, labels, caplog):
        """Another sigmoid makes at most 0.5 of them; a softmax undoes the logarithm, so that log_softmax is right."""
        found = predict(Given(), (functional.logsigmoid(given), labels), outputs="logits")
        assert any("none of the model's outputs is above 0" in note for note in found.notes)
        assert "none of the model's" in caplog.text
        assert predict(Given(), (given, labels), outputs="logits").notes == ()

    @pytest.mark.parametrize("shape", [(6,), (6, 1)])
    def test_one_output_in_the_unit_interval_is_the_probability_of_class_1(self, shape):
        """There are no rows that could add up."""
        given = torch.tensor([0.0, 0.25, 0.5, 0.75, 1.0, 0.125])
        found = predict(Given(), (given.reshape(shape), [0, 1, 0, 1, 0, 1]))
        assert found.scores.tolist() == [[1 - p, p] for p in given.tolist()]

    def test_multilabel_probabilities_need_not_add_up(self):
        """Each label is a question of its own."""
        given = torch.tensor([[0.9, 0.8], [0.1, 0.2]])
        assert np.array_equal(predict(Given(), (given, torch.tensor([[1, 0], [1, 1]]))).scores, given.numpy())

    @pytest.mark.parametrize("probabilities", [X.softmax(1), X[:, :1].sigmoid(), X[:, 0].sigmoid()])
    def test_stated_logits_that_look_like_probabilities_are_doubted(self, probabilities, caplog):
        """A second softmax leaves the accuracy, and spoils the log loss and the calibration."""
        found = predict(Given(), (probabilities, Y % 2), outputs="logits")
        assert "look like probabilities" in found.notes[-1]
        assert "look like probabilities" in caplog.text

    def test_what_is_stated_is_not_said_again(self, caplog):
        """A stated meaning needs no warning."""
        assert predict(Given(), (torch.zeros(2, 2), [0, 1]), outputs="logits").notes == ()
        assert caplog.text == ""


class Forms(nn.Module):
    """Takes and returns whatever form the test wants."""

    def __init__(self, form):
        super().__init__()
        self.form = form

    def forward(self, x, scale=1.0):
        return self.form(x * scale)


@pytest.mark.parametrize(
    "form",
    [lambda z: z, lambda z: (z, None), lambda z: [z], lambda z: {"loss": 1, "logits": z}, lambda z: z.double()],
)
@pytest.mark.parametrize("inputs", ["one", "tuple", "mapping"])
def test_inputs_and_outputs_have_several_forms(form, inputs):
    """A tensor, a tuple, a mapping: in and out."""
    x = {
        "one": X[:, :3],
        "tuple": (X[:, :3], torch.ones(50, 1)),
        "mapping": {"scale": torch.ones(50, 1), "x": X[:, :3]},
    }
    found = predict(Forms(form), (x[inputs], Y), outputs="logits")
    np.testing.assert_allclose(found.scores, X[:, :3].softmax(1).numpy(), rtol=1e-6)


@pytest.mark.parametrize(
    ("form", "words"),
    [
        (lambda z: {"out": z}, "a mapping of out: it must hold 'logits'"),
        (lambda z: z.tolist(), "the model returned a list"),
        (lambda z: None, "the model returned a NoneType"),
        (lambda z: z[1:], "for 50 samples the model returned float32 of shape"),
    ],
)
def test_an_output_of_another_form_is_named(form, words):
    """What came and what may come."""
    if words == "the model returned a list":
        form = lambda z: [z.tolist()]  # noqa: E731
    with pytest.raises(BadInput, match=words):
        predict(Forms(form), (X[:, :3], Y))


def test_a_model_that_squeezes_a_last_batch_of_one_is_understood():
    """A classic: the ragged last batch loses its first dimension."""
    one = predict(Forms(lambda z: z.squeeze()), (X[:, :3], Y), batch_size=49, outputs="logits").scores
    assert np.array_equal(one, predict(Given(), (X[:, :3], Y), outputs="logits").scores)
    column = predict(Forms(lambda z: z.squeeze()), (X[:7, :1], Y[:7] % 2), batch_size=6, outputs="logits")
    assert column.scores.shape == (7, 2)
    single = predict(Forms(lambda z: z.squeeze()), (X[:1, :3], Y[:1]), outputs="logits")
    assert single.scores.shape == (1, 3)


def test_a_width_that_changes_is_named():
    """Scores of two widths cannot be of one task."""

    class Changing(nn.Module):
        def __init__(self, change):
            super().__init__()
            self.change = change

        def forward(self, x):
            return x if len(x) == 30 else self.change(x)

    for change, shape in ((lambda x: x[:, :3], ".20, 3."), (lambda x: x.T, ".4, 20."), (lambda x: x[0], ".4,.")):
        with pytest.raises(BadInput, match=f"for 20 samples from 30 on, the model returned scores of shape {shape}"):
            predict(Changing(change), (X, Y), batch_size=30)


def test_inputs_that_the_model_refuses_are_named(tiny):
    """The shapes, where, and the model's own words."""
    with pytest.raises(
        BadInput, match=r"failed on the 5 samples from 0 on, with inputs \(5, 3\) float32: RuntimeError: m"
    ):
        predict(tiny, (X[:, :3], Y), batch_size=5)


def test_a_tables_columns_are_named_where_the_model_refuses_their_number(tiny):
    """One too many is often an index or an id; also where the labels stand beside the table."""
    table = pd.DataFrame(X.numpy(), columns=["a", "b", "c", "d"]).assign(id=range(50))
    words = "inputs .50, 5. float32 of the columns a, b, c, d, id: RuntimeError: mat1"
    for data in (load_data(table.assign(y=Y.numpy()), target="y"), (table, Y)):
        with pytest.raises(BadInput, match=words):
            predict(tiny, data)


def test_a_graph_of_a_fixed_batch_size_says_so():
    """Its columns are not to blame."""
    graph = torch.export.export(nn.Linear(4, 3), (X[:2],)).module()
    with pytest.raises(BadInput, match="Guard failed: .*; the graph was exported for other numbers of samples: .*two"):
        predict(graph, (X, Y))
    with pytest.raises(BadInput, match="Guard failed: .*; .* look for a column too many"):
        predict(graph, (X[:2, :3], Y[:2]))


class Endless(IterableDataset):
    """Nobody knows its length."""

    def __iter__(self):
        return iter(zip(X.repeat(60, 1), Y.repeat(60), strict=True))


def test_a_stream_of_unknown_length_gives_the_same(tiny):
    """The array grows with it."""
    stream = predict(tiny, DataLoader(Endless(), batch_size=50), outputs="logits", digest=True)
    whole = predict(tiny, (X.repeat(60, 1), Y.repeat(60)), batch_size=50, outputs="logits", digest=True)
    assert np.array_equal(stream.scores, whole.scores)
    assert stream.digest == whole.digest == digest(load_data((X.repeat(60, 1), Y.repeat(60))))


def test_a_bad_label_of_a_stream_is_named_with_its_place(tiny):
    """Counted from the beginning of the data set, at the batch that it stands in."""
    with pytest.raises(BadInput, match="label 45 is 3, but the model has 3 outputs"):
        predict(tiny, DataLoader([(x, 3 if i == 45 else 0) for i, x in enumerate(X)], batch_size=20))


class Small(nn.Module):
    """Has memory for *room* samples at once."""

    def __init__(self, room, error=torch.OutOfMemoryError):
        super().__init__()
        self.room, self.error, self.seen = room, error, []

    def forward(self, x):
        self.seen.append(len(x))
        if len(x) > self.room:
            raise self.error("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 byte.")
        return x


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, RuntimeError])
def test_a_batch_that_memory_has_no_room_for_is_halved_for_good(error, caplog):
    """And it is said; the scores are the same."""
    model = Small(6, error)
    found = predict(model, (X[:, :3], Y), batch_size=20, outputs="logits", criterion=nn.CrossEntropyLoss())
    expected = predict(Given(), (X[:, :3], Y), outputs="logits", criterion=nn.CrossEntropyLoss())
    assert np.array_equal(found.scores, expected.scores)
    assert found.loss == pytest.approx(expected.loss, rel=1e-6)
    assert model.seen == [20, 10, *[5] * 11]  # one of them to see whether the outputs are the same again
    assert found.notes == (
        "out of memory with 20 samples at once: went on with 10",
        "out of memory with 10 samples at once: went on with 5",
    )
    assert "went on with 5" in caplog.text


def test_memory_for_not_even_one_sample_is_an_error():
    """Nothing is left to halve."""
    with pytest.raises(BadInput, match="failed on the 1 samples from 0 on.*OutOfMemoryError"):
        predict(Small(0), (X, Y))


def test_a_model_that_writes_to_its_inputs_does_not_change_the_data():
    """A slice is the caller's memory."""
    x, labels = X[:, :3].clone(), Y
    model = nn.Sequential(nn.ReLU(inplace=True))
    found = predict(model, (x, labels), batch_size=8, outputs="logits", digest=True)
    assert torch.equal(x, X[:, :3])
    assert np.array_equal(found.scores, predict(Given(), (x.relu(), labels), outputs="logits").scores)
    assert found.digest == digest(load_data((x, labels)))


def test_a_read_only_array_is_only_read():
    """A memory map that the model would write to."""
    array = X[:, :3].numpy().copy()
    array.flags.writeable = False
    predict(nn.Sequential(nn.ReLU(inplace=True)), (array, Y), batch_size=8, outputs="logits")
    assert np.array_equal(array, X[:, :3].numpy())


def test_a_tensor_kept_by_the_model_can_be_trained_with():
    """A table made at the first call: made under inference_mode it would be of no use to autograd."""

    class Keeping(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.table = nn.Linear(4, 3), None

        def forward(self, x):
            if self.table is None:
                self.table = torch.ones(3) * 2
            return self.layer(x) * self.table

    model = Keeping()
    predict(model, (X, Y), outputs="logits")
    model(X).sum().backward()
    assert model.layer.weight.grad is not None


def test_the_loss_is_the_criterion_of_all_samples_at_once(tiny):
    """Weighted by samples: a ragged last batch counts for what it holds."""
    tiny.eval().requires_grad_(False)
    criteria = [
        nn.CrossEntropyLoss(),
        nn.CrossEntropyLoss(reduction="none"),
        nn.CrossEntropyLoss(weight=torch.tensor([1.0, 5.0, 0.1])),
        nn.CrossEntropyLoss(ignore_index=1, label_smoothing=0.1),
        lambda outputs, labels: nn.functional.cross_entropy(outputs, labels),
    ]
    for criterion in criteria:
        found = predict(tiny, (X, Y), batch_size=7, criterion=criterion, outputs="logits").loss
        assert found == pytest.approx(float(criterion(tiny(X), Y).mean()), rel=1e-6)
    total = predict(tiny, (X, Y), batch_size=7, criterion=nn.CrossEntropyLoss(reduction="sum"), outputs="logits").loss
    assert total == pytest.approx(float(nn.CrossEntropyLoss()(tiny(X), Y)), rel=1e-6)


def test_a_binary_criterion_gets_labels_in_the_outputs_form():
    """BCE wants floats of the outputs' shape; labels from a file are integers."""
    for labels in (Y % 2, (Y % 2).float()[:, None]):
        found = predict(Given(), (X[:, :1], labels), batch_size=7, criterion=nn.BCEWithLogitsLoss(), outputs="logits")
        expected = nn.BCEWithLogitsLoss()(X[:, :1], (Y % 2).float()[:, None])
        assert found.loss == pytest.approx(float(expected), rel=1e-6)


def test_a_progress_bar_is_for_a_terminal_only(tiny, capsys):
    """Quiet in a log file."""
    predict(tiny, (X, Y), outputs="logits")
    assert capsys.readouterr().err == ""
    predict(tiny, (X, Y), outputs="logits", progress=True)
    assert "samples/s" in capsys.readouterr().err


def test_a_digest_is_computed_only_when_it_is_asked_for(tiny):
    """It is the same as without a model."""
    found = predict(tiny, DataLoader(TensorDataset(X, Y), batch_size=9), digest=True, outputs="logits")
    assert found.digest == digest(load_data((X, Y)))


def test_what_the_data_has_to_say_is_passed_on(tiny, caplog):
    """A shuffled loader."""
    found = predict(tiny, DataLoader(TensorDataset(X, Y), shuffle=True), outputs="logits")
    assert "RandomSampler is not used" in found.notes[0]
    assert "RandomSampler is not used" in caplog.text


def test_nothing_is_warned_of(tiny):
    """What is ours to say goes through logging."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        predict(tiny, (X.numpy(), Y.numpy()))
    assert said == []


class SoftmaxInHalf(nn.Module):
    """Returns probabilities in half precision, as a model under autocast does."""

    def __init__(self, dtype):
        super().__init__()
        self.dtype = dtype

    def forward(self, x):
        return x.softmax(1).to(self.dtype)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("outputs", ["auto", "probabilities"])
@pytest.mark.parametrize("width", [2, 10, 300])
def test_probabilities_in_half_precision_are_taken_as_what_they_are(dtype, outputs, width):
    """Their rows add up to 1 less exactly; as logits they would go through a second softmax."""
    logits = torch.randn(200, width, generator=torch.Generator().manual_seed(1)) * 3
    found = predict(SoftmaxInHalf(dtype), (logits, torch.arange(200) % width), outputs=outputs)
    assert found.outputs == "probabilities"
    assert np.abs(found.scores.sum(axis=1) - 1).max() < 1e-5
    assert np.abs(found.scores - logits.softmax(1).numpy()).max() < 0.01


@pytest.mark.parametrize("outputs", ["auto", "probabilities"])
def test_what_looks_like_probabilities_and_is_none_is_refused(outputs):
    """Guessing either way would be a quiet mistake."""
    nearly = X.softmax(1) * 1.01
    nearly[7] *= 0.5
    with pytest.raises(BadInput, match="for sample 0 are all in .0, 1., but add up to 1.01: .*outputs='logits'"):
        predict(Given(), (nearly, Y), outputs=outputs)
    assert predict(Given(), (nearly, Y), outputs="logits").outputs == "logits"


def test_one_hot_classes_are_not_taken_for_multilabel():
    """Unless the task says so."""
    labels = torch.eye(4)[Y]
    with pytest.raises(BadInput, match="each of the 50 samples has exactly one of 4 labels: .*argmax"):
        predict(Given(), (X, labels), outputs="logits")
    assert predict(Given(), (X, labels), outputs="logits", task="multilabel").task == "multilabel"


@pytest.mark.parametrize(
    ("outputs", "words"),
    [
        (torch.empty(50, 0), "for 50 samples the model returned float32 of shape .50, 0."),
        (X.to_sparse(), "for 50 samples the model returned float32 .sparse_coo."),
        (X.to("meta"), "the model's outputs are on the meta device, which holds no numbers: give the model memory"),
    ],
)
def test_outputs_that_hold_no_plain_numbers_are_refused(outputs, words):
    """No column, a sparse tensor, a tensor without values."""

    class Model(nn.Module):
        def forward(self, x):
            return outputs

    with pytest.raises(BadInput, match=words):
        predict(Model(), (X, Y), batch_size=50)

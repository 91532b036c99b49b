"""A stored version is loaded for real: that it loads, how large it is, how long a prediction takes."""

from __future__ import annotations

import itertools

import pytest
import torch
from registered import EXPERIMENT, add_version
from torch import nn

from mlflow_pt_eval.errors import NotFound
from mlflow_pt_eval.exporting.candidate import take_candidate
from mlflow_pt_eval.tracking import registry
from mlflow_pt_eval.tracking.measure import ROUNDS, WARM_UPS, measure
from mlflow_pt_eval.tracking.models import publish
from mlflow_pt_eval.tracking.store import connect


class Two(nn.Module):
    """A model of two inputs."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, a, b):
        return self.layer(a) + self.layer(b)


def published(store, model, example):
    """Publish a model and return its URI."""
    candidate = take_candidate(model, input_example=example)
    return publish(
        store, candidate, name="m", experiment_id=store.experiment_id(EXPERIMENT), check=lambda folder: None
    ).uri


@pytest.mark.parametrize(
    ("model", "example"),
    [
        (nn.Linear(4, 3), torch.zeros(2, 4)),
        (Two(), (torch.zeros(2, 4), torch.ones(2, 4))),
        (Two(), {"b": torch.zeros(2, 4), "a": torch.ones(2, 4)}),
        (nn.Embedding(5, 3), torch.zeros(2, 6, dtype=torch.int64)),
    ],
)
def test_every_form_of_input_is_timed_on_the_versions_own_example(tracking, model, example):
    """One array, several, named ones, integers: the median of the rounds after the warm-ups."""
    store = connect()
    ticks = itertools.count()
    measured = measure(store, published(store, model, example), timed=True, clock=lambda: next(ticks) * 0.002)
    assert measured.latency_ms == pytest.approx(2.0)
    assert next(ticks) == 2 * (WARM_UPS + ROUNDS)
    assert measured.size_bytes > 1000


def test_the_first_predictions_are_not_counted(tracking):
    """A model warms up: the first calls allocate and compile."""
    store = connect()
    slow = itertools.chain([0.0, 9.0] * WARM_UPS, [0.0, 0.001] * ROUNDS)
    measured = measure(
        store, published(store, nn.Linear(4, 3), torch.zeros(2, 4)), timed=True, clock=lambda: next(slow)
    )
    assert measured.latency_ms == pytest.approx(1.0)


def test_unasked_nothing_is_timed_and_random_numbers_stay(tracking):
    """Loading a version is not to be noticed by a training in the same process."""
    store = connect()
    uri = published(store, nn.Linear(4, 3), torch.zeros(2, 4))
    before = torch.get_rng_state()
    assert measure(store, uri).latency_ms is None
    assert torch.equal(torch.get_rng_state(), before)


def test_a_version_over_http_is_measured_as_it_was_stored(server, tracking):
    """The size is that of the stored files, wherever they are."""
    import mlflow

    mlflow.set_tracking_uri(server)
    store = connect()
    version = add_version(store, "measured")
    assert measure(store, f"models:/measured/{version}").size_bytes > 1000


def test_what_does_not_load_raises_what_keeps_it_from_loading(tracking):
    """A deleted logged model is not found; the registry still calls its version READY."""
    store = connect()
    version = add_version(store, "m")
    store.client.delete_logged_model(registry.resolve(store, "m", version).model_id)
    with pytest.raises(NotFound, match="deleted"):
        measure(store, f"models:/m/{version}")

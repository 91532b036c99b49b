"""Stored predictions come back as what the functions for pairs of models take."""

from __future__ import annotations

import numpy as np
import pytest

from mlflow_pt_eval.errors import BadInput, NotFound
from mlflow_pt_eval.metrics import outputs_for, paired_difference, predictions_frame, stored_outputs

RNG = np.random.default_rng(0)


def softmax(rows, classes):
    """Draw scores that sum to one."""
    scores = RNG.random((rows, classes)).astype(np.float32)
    return (scores / scores.sum(axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("classes", [2, 3, 100])
def test_up_to_a_hundred_classes_the_scores_come_back_bit_for_bit(tmp_path, classes):
    """Through the parquet file, in the data's order."""
    labels, scores = RNG.integers(0, classes, 40), softmax(40, classes)
    losses = RNG.random(40)
    path = tmp_path / "predictions.parquet"
    predictions_frame(labels, scores, losses=losses, index=np.arange(40) * 2).to_parquet(path)
    found = stored_outputs(path)
    assert np.array_equal(found.labels, labels)
    assert np.array_equal(found.outputs, scores)
    assert found.outputs.dtype == np.float32
    assert np.array_equal(found.losses, losses)
    assert np.array_equal(found.index, np.arange(40) * 2)


def test_above_a_hundred_classes_the_predictions_come_back():
    """The table holds some of the probabilities only: what needs all of them is not computed from guesses."""
    labels, scores = RNG.integers(0, 101, 40), softmax(40, 101)
    found = stored_outputs(predictions_frame(labels, scores))
    assert np.array_equal(found.outputs, scores.argmax(axis=1))
    assert found.outputs.dtype == np.int64
    assert found.losses is None


@pytest.mark.parametrize("labels_per_sample", [4, 101])
def test_several_labels_a_sample_come_back_as_indicators(tmp_path, labels_per_sample):
    """Lists in the file, 0 and 1 in the array; also for samples without any."""
    marks = (RNG.random((30, labels_per_sample)) < 0.3).astype(np.int64)
    marks[0] = 0
    scores = RNG.random(marks.shape).astype(np.float32)
    path = tmp_path / "predictions.parquet"
    predictions_frame(marks, scores).to_parquet(path)
    found = stored_outputs(path)
    assert np.array_equal(found.labels, marks)
    assert np.array_equal(found.outputs, scores if labels_per_sample == 4 else (scores > 0.5).astype(np.int64))


def test_two_models_are_compared_on_the_same_samples_only():
    """A difference of shuffled samples would be one of nothing."""
    labels, scores = RNG.integers(0, 3, 40), softmax(40, 3)
    one, other = (
        stored_outputs(predictions_frame(labels, scores)),
        stored_outputs(predictions_frame(labels[::-1], scores)),
    )
    assert paired_difference("accuracy", *outputs_for("accuracy", one, one)).difference == 0
    with pytest.raises(BadInput, match="different samples"):
        outputs_for("accuracy", one, other)


def test_the_loss_is_compared_where_it_is_stored():
    """It needs the losses, not the scores."""
    labels, scores = RNG.integers(0, 3, 40), softmax(40, 3)
    bare = stored_outputs(predictions_frame(labels, scores))
    whole = stored_outputs(predictions_frame(labels, scores, losses=np.full(40, 0.5)))
    assert paired_difference("loss", *outputs_for("loss", whole, whole)).difference == 0
    with pytest.raises(BadInput, match="criterion"):
        outputs_for("loss", whole, bare)


def test_a_file_that_is_not_there_is_named(tmp_path):
    """NotFound, with the path."""
    with pytest.raises(NotFound, match=r"gone\.parquet"):
        stored_outputs(tmp_path / "gone.parquet")

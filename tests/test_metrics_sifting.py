"""Sifted rows say what sorted ones say: the same runs of positives, to the last count."""

from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_pt_eval.metrics import sifting
from mlflow_pt_eval.metrics.groups import Groups, rows_of, walk
from mlflow_pt_eval.metrics.ranking import rank_rows


def _keys(scores, positive):
    return scores.astype(np.float32).view(np.uint32) << np.uint32(1) | positive.astype(np.uint32)


def _both(keys):
    """Return the rows of *keys* sifted where few are positive, and all sorted."""
    positives = (keys & 1).sum(axis=1).astype(np.int64)
    sifted = sifting.arrange(keys.copy(), positives)
    keys.sort(axis=1)
    return sifted, rows_of(keys, positives)


def _said(rows):
    (groups,) = walk(rows)
    said = {field.name: getattr(groups, field.name).tolist() for field in fields(Groups)}
    said["lowest"] = rows.keys[rows.bounds[:-1]].tolist()
    return {**said, "precision": rank_rows(rows, None).average_precision.tobytes()}


@given(
    rows=st.integers(1, 5),
    samples=st.integers(1, 700),
    levels=st.sampled_from([1, 2, 7, 100, 10**9]),
    rare=st.sampled_from([0, 0.002, 0.01, 0.02, 0.3, 1]),
    power=st.sampled_from([1, 4, 30]),
    seed=st.integers(0, 2**32 - 1),
)
def test_sifted_rows_have_the_groups_of_sorted_ones(rows, samples, levels, rare, power, seed):
    rng = np.random.default_rng(seed)
    scores = (rng.integers(0, levels, (rows, samples), endpoint=True) / levels) ** power
    positive = rng.random((rows, samples)) < rare * rng.random((rows, 1)) * 2
    sifted, whole = _both(_keys(scores, positive))
    assert _said(sifted) == _said(whole)


@pytest.mark.parametrize("count", [0, 1, 100, 5000])
def test_of_a_long_row_with_few_positives_little_is_kept(count):
    rng = np.random.default_rng(count)
    scores = rng.random(3 * sifting.AT_ONCE + 17)[None] ** 16  # as a softmax spreads them
    positive = np.zeros_like(scores, bool)
    positive[0, rng.choice(scores.size, count, replace=False)] = True
    sifted, whole = _both(_keys(scores, positive))
    assert _said(sifted) == _said(whole)
    assert len(sifted.keys) < scores.size / 2


def test_zero_of_either_sign_and_rounding_above_one_are_scores_too():
    scores = np.array([-0.0, 0.0, 1.0, 1.0000001, np.float32(1e-42)] * 50)[None]
    positive = np.zeros_like(scores, bool)
    positive[0, [0, 3, 4]] = True
    sifted, whole = _both(_keys(scores, positive))
    assert _said(sifted) == _said(whole)


def test_rows_with_few_and_with_many_positives_are_sifted_and_sorted_in_place():
    rng = np.random.default_rng(1)
    positive = np.zeros((4, 5000), bool)
    positive[[0, 1, 3], 7] = True
    positive[2, ::2] = True
    sifted, whole = _both(_keys(rng.random((4, 5000)), positive))
    assert _said(sifted) == _said(whole)
    sizes = np.diff(sifted.bounds)
    assert sizes[2] == 5000
    assert max(sizes[[0, 1, 3]]) < 500


def test_more_positives_than_there_may_be_buckets_for_share_them(monkeypatch):
    monkeypatch.setattr(sifting, "MOST_BITS", sifting.LEAST_BITS)
    rng = np.random.default_rng(2)
    sifted, whole = _both(_keys(rng.random((3, 9000)) ** 16, rng.random((3, 9000)) < 0.015))
    assert _said(sifted) == _said(whole)

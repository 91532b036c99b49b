"""The bootstrap: its draws are multinomial, its seed decides, its linear form has the right spread."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest

from mlflow_pt_eval.metrics import resampling
from mlflow_pt_eval.metrics.resampling import logit_interval, percentile_interval, reach, resample, resample_linear

HOW = {"resamples": 400, "seed": 0, "threads": 1}


@pytest.mark.parametrize("counts", [[1] * 50, [30, 20], [5, 0, 900], [40] * 3])
def test_each_resample_draws_as_many_samples_as_there_are(counts: list[int]) -> None:
    """Whether drawn one by one or as counts, each atom about as often as it has samples."""
    atoms = np.array(counts)
    drawn: list[np.ndarray] = []
    resample(lambda weights: (drawn.append(weights), weights[0])[1].astype(np.float64), atoms, **HOW)
    weights = np.concatenate(drawn, axis=1)
    assert weights.shape == (len(counts), 400)
    assert (weights.sum(axis=0) == atoms.sum()).all()
    spread = np.sqrt(atoms * (1 - atoms / atoms.sum()) / 400)
    assert (np.abs(weights.mean(axis=1) - atoms) <= 5 * spread).all()
    assert weights.var(axis=1) == pytest.approx(atoms * (1 - atoms / atoms.sum()), rel=0.5)


def test_the_seed_decides_and_the_threads_do_not() -> None:
    """Blocks have seeds of their own."""
    atoms = np.ones(30, np.int64)

    def run(seed: int, threads: int) -> np.ndarray:
        return resample(lambda weights: np.arange(30) @ weights, atoms, resamples=300, seed=seed, threads=threads)

    assert np.array_equal(run(1, 1), run(1, 3))
    assert not np.array_equal(run(1, 1), run(2, 1))


@pytest.mark.parametrize("shape", ["normal", "heavy", "few values", "constant"])
def test_binning_loses_no_spread(shape: str) -> None:
    """A sum over 50,000 atoms, drawn as some 2,000 bins, has the variance that it has atom by atom."""
    rng = np.random.default_rng(0)
    influence = {
        "normal": rng.standard_normal(50_000),
        "heavy": rng.standard_cauchy(50_000),
        "few values": rng.integers(0, 3, 50_000).astype(np.float64),
        "constant": np.zeros(50_000),
    }[shape]
    influence = (influence - influence.mean()) / len(influence)
    bins: list[np.ndarray] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resampling, "resample", lambda _, counts, **how: bins.append(counts) or np.zeros(1))
        resample_linear(influence, np.ones(50_000, np.int64), **HOW)
    (together,) = bins
    assert together.sum() == 50_000
    assert len(together) <= 2048
    means = np.add.reduceat(np.sort(influence), np.cumsum(together) - together) / together
    assert together @ means**2 == pytest.approx(float(influence @ influence), rel=1e-4, abs=1e-30)


def test_the_linear_form_of_a_mean_is_the_bootstrap_of_a_mean() -> None:
    """Same centre, same spread, same tails."""
    values = np.random.default_rng(1).exponential(size=300)
    ones = np.ones(300, np.int64)
    whole = resample(lambda weights: values @ weights / 300, ones, resamples=4000, seed=0, threads=1)
    linear = values.mean() + resample_linear((values - values.mean()) / 300, ones, resamples=4000, seed=1, threads=1)
    assert np.quantile(linear, [0.025, 0.5, 0.975]) == pytest.approx(np.quantile(whole, [0.025, 0.5, 0.975]), abs=0.015)


def test_an_interval_leaves_out_what_is_undefined() -> None:
    """A resample without one of the classes has no AUC; without any there is no interval."""
    assert percentile_interval(2.0, np.array([np.nan, 1.0, 2.0, 3.0]), reach(0.5)) == pytest.approx((1.5, 2.5))
    assert percentile_interval(2.0, np.full(3, np.nan), 1.96) is None


def test_an_interval_without_bias_is_that_of_the_percentiles() -> None:
    """Where half of the values lie below the estimate."""
    values = np.arange(1001.0)
    assert percentile_interval(500, values, reach()) == pytest.approx((25, 975))


def test_an_interval_moves_against_the_bias() -> None:
    """Values that lie mostly below the estimate say that the estimate does, too."""
    values = np.arange(1001.0)
    low, high = percentile_interval(700, values, reach()) or (0, 0)
    assert low == pytest.approx(1000 * NormalDist().cdf(2 * NormalDist().inv_cdf(700.5 / 1001) - 1.959964), abs=1e-3)
    assert high > 990


def test_an_end_beyond_all_resamples_is_where_more_of_them_would_be() -> None:
    """A bias of six standard deviations, as an F1 over a thousand small classes has it, in either direction."""
    values = np.random.default_rng(0).normal(0.70, 0.01, 1000)
    assert percentile_interval(0.76, values, reach()) == pytest.approx((0.82 - 0.0196, 0.82 + 0.0196), abs=0.002)
    assert percentile_interval(0.64, values, reach()) == pytest.approx((0.58 - 0.0196, 0.58 + 0.0196), abs=0.002)


def test_values_that_are_all_alike_have_an_interval_without_width() -> None:
    """Whatever rounding says of the estimate."""
    assert percentile_interval(0.3, np.full(50, 0.1 + 0.2), reach()) == (0.1 + 0.2, 0.1 + 0.2)


def test_the_interval_of_few_samples_is_wider() -> None:
    """By Student's t (its tables), and by the variance that the bootstrap of so few misses."""
    assert reach() == pytest.approx(1.959964)
    assert reach(0.9) == pytest.approx(1.644854)
    assert reach(freedom=4) == pytest.approx(2.776445)
    assert reach(samples=5, freedom=4) == pytest.approx(2.776445 * (5 / 4) ** 0.5)
    assert reach(samples=5) == pytest.approx(1.959964 * (5 / 4) ** 0.5)


def test_the_interval_of_an_area_is_even_on_the_scale_of_logits() -> None:
    """So that it stays within 0 and 1, and reaches further to the side where there is room."""
    values = np.array([0.9, 0.95, 1.0, np.nan])
    ends = logit_interval(0.95, values, 2.0)
    assert ends is not None
    below, above = np.log(0.95 / 0.05) - np.log(np.divide(ends, np.subtract(1, ends)))
    assert below == pytest.approx(2 * np.nanstd(values) / (0.95 * 0.05))
    assert above == pytest.approx(-below)
    assert logit_interval(0.95, np.full(3, np.nan), 2.0) is None
    assert logit_interval(1.0, np.ones(3), 2.0) == (1, 1)

"""Gates are pure: two versions' facts in, checks with their numbers out. No store, no model, no disk."""

from __future__ import annotations

import json
import math

import pytest

from mlflow_pt_eval.decisions import Decision, Facts, Interval, Pair
from mlflow_pt_eval.errors import BadInput
from mlflow_pt_eval.gates import ClassDropGate, LatencyGate, MetricGate, SizeGate, ThresholdGate

NAN, INF = math.nan, math.inf


def pair(candidate, champion=None, interval=None, **about_candidate):
    """Build two versions' facts from their metrics; a dict of class recalls goes by `recalls`."""

    def facts(uri, metrics, **more):
        return None if metrics is None else Facts(model_uri=uri, metrics=metrics, **more)

    pairs = {} if interval is None else {"interval": interval}
    return Pair(
        candidate=facts("models:/m/2", candidate, **about_candidate), champion=facts("models:/m/1", champion), **pairs
    )


def recalls(new, old):
    """Build a pair that differs in its classes' recalls only."""

    def facts(values):
        return Facts(model_uri="models:/m/1", metrics={}, recalls=[(f"c{i}", v) for i, v in enumerate(values)])

    return Pair(candidate=facts(new), champion=None if old is None else facts(old))


def decision(**facts):
    """Build a decision about version 2, which wants what version 1 has."""
    rest = {"action": "promote", "name": "m", "version": 2, "alias": "champion", "who": "me", "when": "", "champion": 1}
    return Decision(**{**rest, **facts})


@pytest.mark.parametrize(
    ("metric", "candidate", "champion", "min_delta", "passed"),
    [
        ("accuracy", 0.91, 0.90, 0.0, True),
        ("accuracy", 0.90, 0.90, 0.0, False),  # strictly better
        ("accuracy", 0.89, 0.90, 0.0, False),
        ("accuracy", 0.75, 0.50, 0.25, False),  # a gain of exactly min_delta is not more
        ("accuracy", 0.875, 0.50, 0.25, True),
        ("accuracy", 0.91, 0.90, 0.01, False),  # 0.91 - 0.90 is 0.010000000000000009
        ("accuracy", 0.1 + 0.2, 0.3, 0.0, False),
        ("accuracy", 0.0, -0.5, 0.0, True),  # zero is a number
        ("log_loss", 0.30, 0.40, 0.0, True),  # smaller is better
        ("log_loss", 0.40, 0.30, 0.0, False),
        ("brier_score", 0.25, 0.50, 0.25, False),
        ("expected_calibration_error", 0.0, 0.1, 0.0, True),
        ("accuracy", NAN, 0.1, 0.0, False),  # NaN is never better
        ("accuracy", 0.1, NAN, 0.0, True),  # and never blocks
        ("accuracy", INF, 0.1, 0.0, False),
    ],
)
def test_better_means_strictly_better_in_the_metrics_own_direction(metric, candidate, champion, min_delta, passed):
    """The gate's answer is that of the package's one comparison."""
    check = MetricGate(metric=metric, min_delta=min_delta).check(pair({metric: candidate}, {metric: champion}))
    assert check.passed is passed


@pytest.mark.parametrize(
    ("metric", "low", "high", "tolerance", "passed"),
    [
        ("accuracy", 0.001, 0.02, 0.0, True),
        ("accuracy", 0.0, 0.02, 0.0, False),  # above, not at
        ("accuracy", -0.01, 0.03, 0.0, False),  # chance explains the gain
        ("accuracy", -0.01, 0.03, 0.02, True),
        ("log_loss", -0.03, -0.01, 0.0, True),  # candidate minus champion: below zero is the gain
        ("log_loss", -0.03, 0.01, 0.0, False),
        ("log_loss", -0.03, 0.01, 0.02, True),
    ],
)
def test_with_confidence_the_lower_end_of_the_gain_must_lie_above_minus_tolerance(metric, low, high, tolerance, passed):
    """A gain on paper is not enough; the interval is turned so that a gain is positive."""
    asked = []

    def interval(*question):
        asked.append(question)
        return Interval(estimate=(low + high) / 2, low=low, high=high)

    values = ({metric: 0.9}, {metric: 0.8}) if metric == "accuracy" else ({metric: 0.8}, {metric: 0.9})
    check = MetricGate(metric=metric, confidence=0.9, tolerance=tolerance).check(pair(*values, interval))
    assert (check.passed, asked) == (passed, [(metric, 0.9)])
    assert check.numbers["low"] == (low if metric == "accuracy" else -high)


def test_a_convincing_interval_does_not_replace_the_gain():
    """Both are asked for: the point and the interval."""
    gate = MetricGate(min_delta=0.5, confidence=0.95)
    check = gate.check(
        pair({"accuracy": 0.9}, {"accuracy": 0.8}, lambda *_: Interval(estimate=0.1, low=0.09, high=0.2))
    )
    assert not check.passed


def test_without_confidence_no_interval_is_computed():
    """An interval costs a bootstrap: only a gate that needs it asks."""
    assert MetricGate().check(pair({"accuracy": 0.9}, {"accuracy": 0.8})).passed
    with pytest.raises(BadInput, match="no paired interval"):
        MetricGate(confidence=0.9).check(pair({"accuracy": 0.9}, {"accuracy": 0.8}))


@pytest.mark.parametrize(
    ("metric", "value", "threshold", "passed"),
    [
        ("accuracy", 0.95, 0.95, True),  # at least
        ("accuracy", 0.94, 0.95, False),
        ("accuracy", 0.0, 0.0, True),
        ("log_loss", 0.3, 0.3, True),  # at most
        ("log_loss", 0.4, 0.3, False),
        ("accuracy", NAN, 0.0, False),
        ("log_loss", 0.1 + 0.2, 0.3, True),
    ],
)
def test_a_threshold_is_met_at_its_value(metric, value, threshold, passed):
    """Absolute gates look at the candidate alone, in the metric's own direction."""
    for champion in (None, {metric: 0.99}):
        assert ThresholdGate(metric=metric, threshold=threshold).check(pair({metric: value}, champion)).passed is passed


@pytest.mark.parametrize(
    ("new", "old", "drop", "passed", "named"),
    [
        ([0.9, 0.5], [0.9, 0.75], 0.25, True, "c1"),  # by exactly the limit is allowed
        ([0.9, 0.5], [0.9, 0.875], 0.25, False, "c1"),
        ([0.4, 1.0], [0.5, 0.1], 0.0, False, "c0"),  # a large gain elsewhere does not make up for it
        ([0.5, 0.6], [0.5, 0.5], 0.0, True, "c0"),
        ([0.0], [0.0], 0.0, True, "c0"),
        ([0.85], [1.0], 0.15, True, "c0"),  # 1 - 0.85 is 0.15000000000000002
    ],
)
def test_the_class_that_lost_most_decides(new, old, drop, passed, named):
    """One class that collapses is refused, however much the others gain, and it is named."""
    check = ClassDropGate(max_class_drop=drop).check(recalls(new, old))
    assert (check.passed, repr(named) in check.detail) == (passed, True)


def test_classes_that_cannot_be_set_side_by_side_do_not_pass():
    """A model with another number of classes, or without recalls, is not compared by guessing."""
    assert not ClassDropGate(max_class_drop=1.0).check(recalls([0.9], [0.9, 0.9])).passed
    assert not ClassDropGate(max_class_drop=1.0).check(recalls([], [])).passed


@pytest.mark.parametrize(
    ("new", "old", "passed"),
    [
        (["no", "yes"], ["yes", "no"], False),
        (["1", "0"], ["0", "1"], False),
        (["no", "yes"], ["0", "1"], True),  # registered without names: nothing says that they are others
        (["no", "yes"], ["no", "yes"], True),
    ],
)
def test_classes_of_other_names_are_not_set_side_by_side(new, old, passed):
    """By position, 'yes' would be set beside 'no'."""
    one, other = (Facts(model_uri="", metrics={}, recalls=[(name, 0.5) for name in names]) for names in (new, old))
    check = ClassDropGate(max_class_drop=1.0).check(Pair(candidate=one, champion=other))
    said = f"class 0 is {new[0]!r} and {old[0]!r} for the candidate and the champion"
    assert (check.passed, said in check.detail) == (passed, not passed)


@pytest.mark.parametrize(
    ("ours", "theirs", "passed"),
    [("MSELoss()", "MSELoss()", True), ("MSELoss()", None, True), ("MSELoss()", "L1Loss()", False)],
)
def test_losses_of_two_criteria_are_not_compared(ours, theirs, passed):
    """A smaller number of something else is no gain; where a criterion was not noted nothing is known."""
    one, other = (
        Facts(model_uri="", metrics={"loss": loss}, criterion=by) for loss, by in ((0.1, ours), (0.2, theirs))
    )
    check = MetricGate(metric="loss").check(Pair(candidate=one, champion=other))
    assert (check.passed, "evaluate both with the same criterion" in check.detail) == (passed, not passed)


@pytest.mark.parametrize("gate", [MetricGate(), MetricGate(confidence=0.95), ClassDropGate(max_class_drop=0.0)])
def test_relative_gates_pass_where_there_is_no_champion(gate):
    """The first version has nothing to be better than: the absolute gates decide."""
    check = gate.check(pair({"accuracy": 0.1}, None, recalls=[("c0", 0.1)]))
    assert check.passed
    assert "no champion yet" in check.detail


@pytest.mark.parametrize(
    ("gate", "about", "passed"),
    [
        (SizeGate(max_mb=1.0), {"size_bytes": 1_000_000}, True),
        (SizeGate(max_mb=1.0), {"size_bytes": 1_000_001}, False),
        (SizeGate(max_mb=1.0), {}, False),  # what was not measured does not pass
        (LatencyGate(max_ms=5.0), {"latency_ms": 5.0}, True),
        (LatencyGate(max_ms=5.0), {"latency_ms": 5.1}, False),
        (LatencyGate(max_ms=5.0), {}, False),
    ],
)
def test_ceilings_hold_at_their_value_and_for_what_was_measured(gate, about, passed):
    """Size and latency are absolute: they hold without a champion."""
    assert gate.check(pair({}, None, **about)).passed is passed


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: MetricGate(min_delta=-0.1), "min_delta"),
        (lambda: MetricGate(min_delta=NAN), "min_delta"),
        (lambda: MetricGate(tolerance=-1), "tolerance"),
        (lambda: MetricGate(tolerance=5), "tolerance=5 is of the gain's interval: give confidence"),
        (lambda: MetricGate(confidence=95), "confidence"),
        (lambda: MetricGate(confidence=0.0), "confidence"),
        (lambda: ThresholdGate(threshold=NAN), "threshold"),
        (lambda: ClassDropGate(max_class_drop=-0.5), "max_class_drop"),
        (lambda: SizeGate(max_mb=0), "max_mb"),
        (lambda: LatencyGate(max_ms=-1), "max_ms"),
        (lambda: MetricGate(metric=None), "metric"),
        (lambda: MetricGate(min_delta="0.1"), "min_delta"),
        (lambda: MetricGate(confidence="95%"), "confidence"),
        (lambda: ThresholdGate(threshold=None), "threshold"),
        (lambda: ThresholdGate(threshold=True), "threshold"),
        (lambda: SizeGate(max_mb="9 MB"), "max_mb"),
    ],
)
def test_a_gate_that_makes_no_sense_is_refused_before_it_is_asked(make, named):
    """A typo in an option must not become a decision."""
    with pytest.raises(BadInput, match=named):
        make()


def test_a_metric_that_was_not_evaluated_is_named_with_those_that_were():
    """`roc_auc` of a multiclass model is `roc_auc_macro`: the message has to help."""
    with pytest.raises(BadInput, match=r"models:/m/2 has no metric 'roc_auc'; it has accuracy, roc_auc_macro"):
        MetricGate(metric="roc_auc").check(pair({"accuracy": 1.0, "roc_auc_macro": 1.0}, None))


def test_a_check_prints_whether_it_passed_with_the_numbers():
    """A line for people, the same numbers for machines."""
    passed = MetricGate().check(pair({"accuracy": 0.75}, {"accuracy": 0.5}))
    assert str(passed) == (
        "pass  accuracy better than the champion: 0.75 against 0.5, a gain of +0.25 (asked: more than 0)"
    )
    assert str(ThresholdGate(threshold=0.8).check(pair({"accuracy": 0.75}))) == (
        "FAIL  accuracy threshold: 0.75 (asked: at least 0.8)"
    )
    assert passed.numbers == {"candidate": 0.75, "champion": 0.5, "gain": 0.25, "min_delta": 0.0}


def test_a_decision_is_strict_json_even_with_nan():
    """decision.json must be readable by any JSON parser."""
    check = MetricGate().check(pair({"accuracy": NAN}, {"accuracy": 0.5}))
    data = json.loads(json.dumps(decision(passed=False, checks=(check,)).to_json(), allow_nan=False))
    assert data["checks"][0]["numbers"]["candidate"] == "nan"
    assert (data["version"], data["champion"], data["passed"]) == (2, 1, False)


@pytest.mark.parametrize(
    ("facts", "last"),
    [
        ({"passed": True, "moved": True}, "promoted: the alias 'champion' points to version 2 now"),
        ({"passed": True}, "passed: the alias 'champion' would move to version 2; nothing was moved"),
        ({"passed": False}, "refused: the alias 'champion' stays where it is"),
        ({"passed": True, "champion": 2}, "nothing to do: version 2 has the alias 'champion' already"),
        (
            {"passed": True, "moved": True, "action": "rollback"},
            "rolled back: the alias 'champion' points to version 2 now",
        ),
    ],
)
def test_a_decision_says_what_came_of_it(facts, last):
    """The last line is the outcome."""
    assert str(decision(**facts)).splitlines()[-1] == last


def test_a_decision_names_the_data_and_each_check():
    """What was compared on what stands above the outcome."""
    check = ThresholdGate(threshold=0.8).check(pair({"accuracy": 0.75}))
    head, *checks, _ = str(
        decision(passed=False, checks=(check,), champion=None, split="test", dataset_digest="d" * 32)
    ).splitlines()
    assert head == f"m version 2 for the alias 'champion' (none has it), evaluated on 'test', digest {'d' * 32}"
    assert checks == [str(check)]

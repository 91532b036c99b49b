"""Comparing versions: on the same samples or not at all, with what chance explains said beside every difference."""

from __future__ import annotations

import html
import json
import logging
import re
import subprocess
import sys
import uuid
from dataclasses import replace

import mlflow
import numpy as np
import pandas as pd
import pytest
from registered import DIGEST, add_evaluation, add_version, scores_with

from mlflow_pt_eval import names
from mlflow_pt_eval.cli import main
from mlflow_pt_eval.comparison import MetricDifference, Side, compare
from mlflow_pt_eval.comparison.compute import Entry, compare_entries
from mlflow_pt_eval.comparison.page import render
from mlflow_pt_eval.comparison.words import summary
from mlflow_pt_eval.errors import BadInput, NotFound
from mlflow_pt_eval.metrics import evaluate_scores, mcnemar, paired_difference, predictions_frame
from mlflow_pt_eval.tracking import registry
from mlflow_pt_eval.tracking.sample_outputs import SampleOutputs
from mlflow_pt_eval.tracking.store import connect

pytestmark = pytest.mark.slow

LABELS = np.arange(60) % 3


def entry(tmp_path, version, scores, labels=LABELS, task="multiclass", class_names=None, losses=None):
    """Make one side of a comparison of labels and scores, through the stored form of its predictions."""
    path = tmp_path / f"{version}.parquet"
    predictions_frame(labels, scores, task=task, class_names=class_names, losses=losses).to_parquet(path)
    evaluation = evaluate_scores(labels, scores, task=task, class_names=class_names, losses=losses, bootstrap=0)
    object.__setattr__(evaluation, "dataset_digest", DIGEST)
    side = Side(name="m", version=version, aliases=(), evaluation_run_id=f"run{version}", evaluation=evaluation)
    return Entry(side, SampleOutputs.read(path))


@pytest.fixture
def pair(tmp_path):
    """A baseline that is wrong on samples 0 to 11, and a version that is wrong on 10 to 14."""
    return (
        entry(tmp_path, 1, scores_with(LABELS, list(range(12))), class_names=["a", "b", "c"]),
        entry(tmp_path, 2, scores_with(LABELS, list(range(10, 15))), class_names=["a", "b", "c"]),
    )


def test_what_flipped_is_named_by_its_index_with_label_and_predictions(pair):
    """Right→wrong and wrong→right, from the stored predictions."""
    (one,) = compare_entries(pair, pair[0]).against
    broken = [flip.index for flip in one.flips if flip.change == "right to wrong"]
    mended = [flip.index for flip in one.flips if flip.change == "wrong to right"]
    assert (broken, mended) == ([12, 13, 14], list(range(10)))
    assert vars(one.flips[0]) == {
        "index": 12,
        "change": "right to wrong",
        "label": "a",
        "baseline": "a",
        "version": "b",
    }
    assert (one.mcnemar.only_baseline, one.mcnemar.only_candidate) == (3, 10)


def test_differences_and_tests_are_those_of_the_paired_functions(pair):
    """The numbers are computed in one place; here they are only put side by side."""
    (one,) = compare_entries(pair, pair[0]).against
    labels, new, old = LABELS, pair[1].outputs.scores, pair[0].outputs.scores
    for metric in ("accuracy", "f1_macro", "roc_auc_macro", "log_loss"):
        expected = paired_difference(metric, labels, new, old)
        found = one.difference(metric)
        assert (found.difference, found.low, found.high) == expected
    assert one.mcnemar == mcnemar(labels, new, old)
    assert one.difference("accuracy").difference == pytest.approx(7 / 60)


def test_each_classs_recall_change_is_given(pair):
    """Which class pays for the gain is part of the answer."""
    (one,) = compare_entries(pair, pair[0]).against
    assert [(c.name, round(c.change * 20)) for c in one.classes] == [("a", 3), ("b", 2), ("c", 2)]
    assert all(c.version - c.baseline == pytest.approx(c.change) for c in one.classes)


def test_classes_in_another_order_are_warned_of_and_not_set_side_by_side(tmp_path, caplog):
    """By position, one model's 'yes' would stand beside the other's 'no'."""
    sides = [
        entry(tmp_path, n + 1, scores_with(LABELS, [n]), class_names=list(order))
        for n, order in enumerate(("abc", "bac"))
    ]
    comparison = compare_entries(sides, sides[0])
    (said,) = comparison.warnings
    assert "models:/m/2 and the baseline models:/m/1 name their classes differently (class 0 is 'b' and 'a')" in said
    assert said in caplog.text
    assert comparison.to_json()["warnings"] == [said]
    assert html.escape(said) in render(comparison, {})
    assert comparison.against[0].classes == ()


@pytest.mark.parametrize(
    ("metric", "low", "high", "verdict"),
    [
        ("accuracy", 0.01, 0.02, "better"),
        ("accuracy", -0.02, -0.01, "worse"),
        ("accuracy", -0.01, 0.02, "unclear"),
        ("accuracy", 0.0, 0.02, "unclear"),
        ("log_loss", 0.01, 0.02, "worse"),
        ("log_loss", -0.02, -0.01, "better"),
    ],
)
def test_a_verdict_needs_the_whole_interval_on_one_side(metric, low, high, verdict):
    """In the metric's own direction; touching zero is unclear."""
    assert MetricDifference(metric=metric, difference=(low + high) / 2, low=low, high=high).verdict == verdict


def test_the_table_has_a_row_for_each_version_and_nothing_beside_the_baselines_own_metrics(pair):
    """What has no difference to itself has none, not zero."""
    comparison = compare_entries(pair, pair[0])
    frame = comparison.frame()
    assert frame["version"].tolist() == [1, 2]
    assert frame["accuracy"].tolist() == [0.8, 55 / 60]
    assert frame["accuracy_difference"].isna().tolist() == [True, False]
    assert frame["right_to_wrong"].iloc[1] == 3
    assert "name" not in frame
    full = comparison.frame(full=True)
    assert {"cohen_kappa", "log_loss_difference_low", "roc_auc_macro_difference_high"} <= set(full.columns)
    assert comparison.differences()["metric"].tolist()[0] == "accuracy"
    assert len(comparison.classes()) == 3
    assert len(comparison.flips()) == 13


def test_a_comparison_shows_itself_in_a_few_lines(pair):
    """What is compared, the table's rows, what it is taken to; no page where none was written."""
    comparison = compare_entries(pair, pair[0])
    lines = repr(comparison).split("\n")
    assert lines[0] == "Comparison of m 1, m 2"
    assert lines[1].split()[:3] == ["version", "aliases", "accuracy"]
    assert [line.split()[0] for line in lines[2:4]] == ["1", "2"]
    assert lines[4] == f"baseline m 1, 60 samples of the data with digest {DIGEST}"
    assert "page:" not in repr(comparison)
    assert repr(replace(comparison, run_id="r", warnings=("w",))).endswith("\nwarnings: 1")
    assert "page: report.html in run r" in repr(replace(comparison, run_id="r"))


def test_a_comparison_of_many_versions_shows_the_first_and_counts_the_others(pair):
    """A notebook's cell stays readable; the command line prints them all."""
    comparison = compare_entries(pair, pair[0])
    sides = tuple(replace(comparison.sides[0], version=version) for version in range(1, 101))
    many = replace(comparison, sides=sides)
    assert repr(many).startswith("Comparison of m 1, m 2, m 3, m 4 and 96 more\n")
    assert "and 80 more versions, all of them in .frame()" in repr(many)
    assert len(repr(many).split("\n")) < 30
    assert len(summary(many).split("\n")) > 100


def test_the_json_is_strict_and_whole(pair):
    """Any parser reads it; the flips and the differences are in it."""
    data = json.loads(json.dumps(compare_entries(pair, pair[0]).to_json(), allow_nan=False))
    assert (data["baseline"], data["dataset_digest"], data["n_samples"]) == ("models:/m/1", DIGEST, 60)
    assert [version["metrics"]["accuracy"] for version in data["versions"]] == [0.8, 55 / 60]
    (one,) = data["against_baseline"]
    assert (len(one["flips"]), one["mcnemar"]["only_candidate"]) == (13, 10)
    assert {found["verdict"] for found in one["differences"]} <= {"better", "worse", "unclear"}


def test_binary_several_labels_and_many_classes_are_compared_with_what_they_have(tmp_path):
    """Two classes have F1 and AUC; several labels a Hamming loss; above 100 classes only the predictions are stored."""
    rng = np.random.default_rng(0)

    def differences(labels, one, other, task):
        sides = [entry(tmp_path, i, s, labels, task) for i, s in enumerate((one, other), 1)]
        (found,) = compare_entries(sides, sides[0], resamples=100).against
        return {difference.metric for difference in found.differences}

    first = rng.random((80, 1)).astype(np.float32)
    two = np.hstack([1 - first, first])
    assert {"f1", "roc_auc", "average_precision", "log_loss"} <= differences(
        rng.integers(0, 2, 80), two, two[:, ::-1].copy(), "binary"
    )
    marks, scores = rng.integers(0, 2, (80, 4)), rng.random((80, 4)).astype(np.float32)
    assert {"accuracy", "hamming_loss"} <= differences(marks, scores, 1 - scores, "multilabel")
    many = rng.random((300, 120)).astype(np.float32)
    many /= many.sum(axis=1, keepdims=True)
    found = differences(rng.integers(0, 120, 300), many, many[:, ::-1].copy(), "multiclass")
    assert "accuracy" in found
    assert not found & {"roc_auc_macro", "log_loss", "brier_score"}


def test_losses_are_compared_where_both_have_them(tmp_path):
    """The criterion's loss is a metric like any other."""
    good, bad = scores_with(LABELS, []), scores_with(LABELS, [0])
    losses = np.linspace(0.2, 0.3, 60)
    sides = [entry(tmp_path, 1, bad, losses=np.full(60, 0.5)), entry(tmp_path, 2, good, losses=losses)]
    (one,) = compare_entries(sides, sides[0], resamples=100).against
    assert one.difference("loss").difference == pytest.approx(-0.25)
    assert one.difference("loss").verdict == "better"
    lossless = entry(tmp_path, 3, good)
    (other,) = compare_entries([sides[0], lossless], sides[0], resamples=100).against
    assert other.difference("loss") is None


def test_other_samples_are_refused(tmp_path, pair):
    """A comparison across different samples would be one of nothing, whatever the digest says."""
    other = entry(tmp_path, 3, scores_with(LABELS[::-1].copy(), []), LABELS[::-1].copy())
    with pytest.raises(BadInput, match="different samples"):
        compare_entries([*pair, other], pair[0])


def test_the_page_escapes_names_and_says_what_is_not_corrected(tmp_path):
    """Class names are anybody's; several comparisons need a word of caution."""
    wrong = [entry(tmp_path, v, scores_with(LABELS, [v]), class_names=["<b>", "y", "z"]) for v in (1, 2)]
    page = render(compare_entries(wrong, wrong[0], resamples=100), {})
    assert "<b>" not in page.replace("&lt;b&gt;", "")
    assert ">&lt;b&gt;</td>" in page
    assert "not corrected for the number of comparisons" in page
    assert "McNemar" in page


@pytest.fixture
def store(tracking):
    """The ambient store of the test."""
    return connect()


@pytest.fixture
def name():
    """A registered model's name of this test's own."""
    return f"m-{uuid.uuid4().hex[:8]}"


def comparison_runs(store):
    """Every comparison run of the store."""
    ids = [experiment.experiment_id for experiment in store.client.search_experiments()]
    return list(store.client.search_runs(ids, f"tags.`{names.TAG_KIND}` = 'comparison'"))


@pytest.mark.parametrize("kind", ["sqlite", "http"])
def test_a_comparison_is_a_run_with_table_figures_and_page(request, store, name, kind, tmp_path):
    """The same on either store: files at the root, tags that say what was compared on what, a true status."""
    if kind == "http":
        mlflow.set_tracking_uri(request.getfixturevalue("server"))
        store = connect()
    for wrong in (12, 6):
        add_evaluation(store, name, add_version(store, name), list(range(wrong)))
    registry.set_alias(store, name, "champion", 2)
    comparison = compare(name)
    assert comparison.baseline == f"models:/{name}/2"
    run = store.client.get_run(comparison.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.tags[names.TAG_COMPARED] == f"models:/{name}/1, models:/{name}/2"
    assert (run.data.tags[names.TAG_DATASET_DIGEST], run.data.tags[names.TAG_SPLIT]) == (DIGEST, "test")
    assert {found.path for found in store.client.list_artifacts(comparison.run_id)} == {
        *("comparison.csv", "comparison.json", "comparison.png", "flips.csv", "report.html", "roc_overlay.png")
    }
    table = pd.read_csv(store.client.download_artifacts(comparison.run_id, "comparison.csv", str(tmp_path)))
    assert table["accuracy"].tolist() == [0.8, 0.9]
    assert table["accuracy_difference"].tolist()[0] == pytest.approx(-0.1)
    flips = pd.read_csv(store.client.download_artifacts(comparison.run_id, "flips.csv", str(tmp_path)))
    assert flips["index"].tolist() == list(range(6, 12))


def test_without_log_nothing_is_written(store, name):
    """A comparison in a notebook leaves no trace."""
    for wrong in (12, 6):
        add_evaluation(store, name, add_version(store, name), list(range(wrong)))
    comparison = compare([f"models:/{name}/1", f"models:/{name}/2"], log=False)
    assert (comparison.run_id, comparison.baseline) == (None, f"models:/{name}/1")
    assert comparison_runs(store) == []


def test_versions_are_chosen_by_uri_and_the_baseline_by_version_alias_or_uri(store, name):
    """A baseline that was not named is compared all the same, once."""
    for wrong in (12, 6, 3):
        add_evaluation(store, name, add_version(store, name), list(range(wrong)))
    registry.set_alias(store, name, "champion", 3)
    two = [f"models:/{name}/1", f"models:/{name}@champion", f"models:/{name}/3"]
    assert compare(two, log=False).frame()["version"].tolist() == [1, 3]
    assert compare(two, log=False).baseline == f"models:/{name}/3"
    for baseline in (2, "2", f"models:/{name}/2"):
        comparison = compare(two, baseline=baseline, log=False)
        assert (comparison.baseline, comparison.frame()["version"].tolist()) == (f"models:/{name}/2", [2, 1, 3])
    assert compare(f"models:/{name}/1", log=False).against == ()


@pytest.mark.parametrize("given", [None, 3, [1], ["models:/m/1", None], {"models:/m/1": 1}])
def test_what_is_no_name_and_no_uris_is_refused(store, given):
    """With an example of both."""
    with pytest.raises(BadInput, match="cannot be compared: give a registered model's name, or a list of URIs such as"):
        compare(given)


def test_named_versions_without_an_evaluation_are_refused_with_the_command(store, name):
    """What was asked for by name is not left out silently."""
    for _ in range(2):
        add_version(store, name)
    add_evaluation(store, name, 1, [])
    with pytest.raises(BadInput) as caught:
        compare([f"models:/{name}/1", f"models:/{name}/2"])
    assert f"`mlflow-pt-eval evaluate models:/{name}/2 --data project.data:test --split test`" in str(caught.value)
    assert comparison_runs(store) == []


def test_different_data_are_refused_with_the_command(store, name):
    """Two numbers on different data say nothing together."""
    for digest in ("a" * 32, "b" * 32):
        add_evaluation(store, name, add_version(store, name), [], digest=digest)
    with pytest.raises(BadInput, match="of different data.*mlflow-pt-eval evaluate"):
        compare([f"models:/{name}/1", f"models:/{name}/2"])


def test_of_a_whole_model_what_was_not_evaluated_on_the_same_data_is_left_out_and_named(store, name, caplog):
    """Old versions need not be evaluated for ever; the data that most versions share decide."""
    for wrong in (12, 6):
        add_evaluation(store, name, add_version(store, name), list(range(wrong)))
    add_evaluation(store, name, add_version(store, name), [], digest="e" * 32)
    add_version(store, name)
    with caplog.at_level(logging.WARNING):
        comparison = compare(name, log=False)
    assert comparison.frame()["version"].tolist() == [1, 2]
    for version in (3, 4):
        assert f"`mlflow-pt-eval evaluate models:/{name}/{version} --data project.data:test" in caplog.text


def test_a_whole_model_without_any_evaluation_is_refused_with_the_commands(store, name):
    """There is nothing to leave out."""
    add_version(store, name)
    with pytest.raises(BadInput, match=f"mlflow-pt-eval evaluate models:/{name}/1 --data SPEC"):
        compare(name)
    with pytest.raises(NotFound, match="no registered model"):
        compare("never registered")
    with pytest.raises(NotFound, match="no version was named"):
        compare([])


def test_with_data_missing_evaluations_are_made_and_existing_ones_used(store, name, tmp_path):
    """One command compares what was never evaluated; what is known is not computed again."""
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "held.npz", X=rng.normal(size=(60, 4)).astype(np.float32), y=LABELS)
    for seed in (1, 2):
        add_version(store, name, seed)
    first = compare(name, str(tmp_path / "held.npz"))
    runs = {side.evaluation_run_id for side in first.sides}
    assert first.frame()["version"].tolist() == [1, 2]
    assert first.dataset_digest == store.client.get_run(next(iter(runs))).data.tags[names.TAG_DATASET_DIGEST]
    again = compare(name, str(tmp_path / "held.npz"), log=False)
    assert {side.evaluation_run_id for side in again.sides} == runs
    assert again.frame().equals(first.frame())


def test_labels_that_are_other_numbers_to_another_version_are_refused(store, name):
    """Text is looked up by each version's own names; numbers are the same whatever the outputs are called."""
    add_version(store, name, 1, ["a", "b", "c"])
    add_version(store, name, 2, ["b", "a", "c"])
    x = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
    with pytest.raises(BadInput, match=f"models:/{name}/2 was registered with other class names than models:/{name}/1"):
        compare(name, (x, np.array(["a", "b", "c"])[LABELS]))
    assert not mlflow.search_runs(search_all_experiments=True, output_format="list")
    assert compare(name, (x, LABELS), log=False).frame()["version"].tolist() == [1, 2]


def test_data_that_can_be_read_only_once_are_refused(store, name):
    """They are read for the digest, and again for each version."""
    add_version(store, name)
    with pytest.raises(BadInput, match="data is a generator, which can be read only once"):
        compare(name, (batch for batch in ()))


def test_inside_a_users_run_the_comparison_is_that_run_and_its_evaluations_are_children(store, name, tmp_path):
    """`mlflow run -e compare` opens a run: it holds the comparison, and the evaluations don't pile into it."""
    np.savez(tmp_path / "held.npz", X=np.eye(4, dtype=np.float32)[LABELS], y=LABELS)
    add_version(store, name)
    with mlflow.start_run() as run:
        comparison = compare(name, str(tmp_path / "held.npz"))
    assert comparison.run_id == run.info.run_id
    child = store.client.get_run(comparison.sides[0].evaluation_run_id)
    assert child.data.tags[names.MLFLOW_PARENT_RUN_ID] == run.info.run_id


def test_the_command_line_prints_a_table_or_json(store, name):
    """What `mlflow-pt-eval compare` shows, on stdout alone."""
    for wrong in (12, 6):
        add_evaluation(store, name, add_version(store, name), list(range(wrong)))
    command = [sys.executable, "-W", "ignore", "-m", "mlflow_pt_eval", "compare", name, "1", "2"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert shown.splitlines()[0].split()[:2] == ["version", "aliases"]
    assert max(map(len, shown.splitlines())) <= 120
    assert f"baseline {name} 1, 60 samples of " in shown
    assert re.search(r"^page: report\.html in run [0-9a-f]{32}$", shown, re.MULTILINE)
    data = json.loads(subprocess.run([*command, "--json"], capture_output=True, text=True, check=True).stdout)
    assert data["baseline"] == f"models:/{name}/1"


def test_the_command_line_takes_uris_the_first_one_included(store, name, capsys):
    """The first is the baseline; a number beside a URI names no model."""
    for wrong in (12, 6):
        add_evaluation(store, name, add_version(store, name), list(range(wrong)))
    assert main(["compare", f"models:/{name}/1", f"models:/{name}/2", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["baseline"] == f"models:/{name}/1"
    assert [version["version"] for version in data["versions"]] == [1, 2]
    for slip in (["2"], [f"models:/{name}/2", "--baseline", "1"]):
        with pytest.raises(SystemExit, match="2"):
            main(["compare", f"models:/{name}/1", *slip])
        assert f"names no model beside the URI models:/{name}/1: give URIs" in capsys.readouterr().err


def test_the_command_line_takes_a_table_with_its_target_and_class_names(store, name, tmp_path, capsys):
    """Labels that are text need the names of the classes; a target without data is a slip."""
    for seed in (0, 1):
        add_version(store, name, seed)
    table = pd.DataFrame(np.eye(4, dtype=np.float32)[LABELS], columns=list("abcd"))
    table.assign(kind=np.array(["x", "y", "z"])[LABELS]).to_csv(tmp_path / "held.csv", index=False)
    options = ["--target", "kind", "--class-names", "x,y,z"]
    assert main(["compare", name, "1", "2", "--data", str(tmp_path / "held.csv"), *options, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["n_samples"] == 60
    with pytest.raises(SystemExit, match="2"):
        main(["compare", name, *options])
    assert (
        "--target, --class-names and --classes say how --data SPEC is read: give that, too" in capsys.readouterr().err
    )

"""Promotion: moved only for a better version on the same data, recorded, and undone in one command."""

from __future__ import annotations

import json
import logging
import re
import shutil
import subprocess
import sys
import uuid
from pathlib import Path
from urllib.request import url2pathname

import mlflow
import pytest
import torch
from registered import DIGEST, add_evaluation, add_version
from torch import nn

from mlflow_pt_eval import names
from mlflow_pt_eval.errors import BadInput, NotFound, PromotionConflict
from mlflow_pt_eval.evaluation import evaluate
from mlflow_pt_eval.gates import ClassDropGate, LatencyGate, MetricGate, SizeGate, ThresholdGate
from mlflow_pt_eval.promotion import gates_for, history, promote, rollback, versions
from mlflow_pt_eval.tracking import registry
from mlflow_pt_eval.tracking.aliases import read_ledger
from mlflow_pt_eval.tracking.store import connect


@pytest.fixture
def store(tracking):
    """The ambient store of the test."""
    return connect()


@pytest.fixture(params=["sqlite", "http"])
def either(request, tracking):
    """A store of each kind, made the ambient one."""
    if request.param == "http":
        mlflow.set_tracking_uri(request.getfixturevalue("server"))
    return connect()


@pytest.fixture
def name():
    """A registered model's name of this test's own."""
    return f"m-{uuid.uuid4().hex[:8]}"


def evaluated(store, name, *wrong_counts, **options):
    """Register one version for each number of wrong predictions, evaluated on the same data."""
    for wrong in wrong_counts:
        add_evaluation(store, name, add_version(store, name, seed=wrong), list(range(wrong)), **options)


def promotion_runs(store):
    """Every promotion run of the store, newest first."""
    ids = [experiment.experiment_id for experiment in store.client.search_experiments()]
    return list(store.client.search_runs(ids, f"tags.`{names.TAG_KIND}` = 'promotion'"))


def test_the_first_version_becomes_champion_and_a_better_one_after_it(either, name):
    """The whole story on either store: decided, recorded as a run and a tag, noted in the ledger."""
    evaluated(either, name, 12, 6)
    first = promote(name, 1)
    assert (first.passed, first.moved, first.champion) == (True, True, None)
    second = promote(name, 2)
    assert (second.passed, second.moved, second.champion, second.dataset_digest) == (True, True, 1, DIGEST)
    assert registry.get_alias(either, name, "champion") == 2
    run = either.client.get_run(second.run_id)
    assert (run.info.status, run.data.tags[names.TAG_KIND]) == ("FINISHED", "promotion")
    stored = mlflow.artifacts.load_dict(f"{run.info.artifact_uri}/{names.DECISION_JSON}")
    assert (stored["passed"], stored["version"], stored["champion"]) == (True, 2, 1)
    assert stored["checks"][1]["numbers"]["candidate"] == 0.9
    tag = json.loads(registry.resolve(either, name, 2).tags[names.TAG_DECISION])
    assert (tag["passed"], tag["moved"], tag["run_id"], tag["champion"]) == (True, True, second.run_id, 1)
    assert [(move.before, move.after, move.run_id) for move in read_ledger(either, name, "champion")] == [
        (None, 1, first.run_id),
        (1, 2, second.run_id),
    ]


def test_a_version_that_is_not_better_is_refused_and_that_is_recorded_too(store, name):
    """Equal is not better; a refusal is evidence as well."""
    evaluated(store, name, 6, 6)
    promote(name, 1)
    decision = promote(name, 2)
    assert (decision.passed, decision.moved) == (False, False)
    assert [check.passed for check in decision.checks] == [True, False]
    assert registry.get_alias(store, name, "champion") == 1
    run = store.client.get_run(decision.run_id)
    assert (run.info.status, run.data.tags[names.TAG_DECISION]) == ("FINISHED", "refused")
    tag = json.loads(registry.resolve(store, name, 2).tags[names.TAG_DECISION])
    assert (tag["passed"], tag["failed"]) == (False, ["accuracy better than the champion"])


def test_a_version_may_be_named_by_its_alias_and_any_alias_may_be_moved(store, name):
    """`promote digits challenger --alias staging` is what the command line offers."""
    evaluated(store, name, 3)
    registry.set_alias(store, name, "challenger", 1)
    assert promote(name, "challenger", alias="staging").moved
    assert registry.resolve(store, name, 1).aliases == ("challenger", "staging")
    for uri in (f"models:/{name}/1", f"models:/{name}@challenger"):
        assert promote(name, uri, dry_run=True).version == 1
    add_version(store, "other", 7)
    with pytest.raises(BadInput, match=f"models:/other/1 is a version of 'other', not of '{name}'"):
        promote(name, "models:/other/1")


def test_who_is_champion_already_passes_and_nothing_is_done(store, name):
    """A promotion that is run again is no error, and leaves no second trace."""
    evaluated(store, name, 3)
    promote(name, 1)
    again = promote(name, 1, threshold=0.999)
    assert (again.passed, again.unchanged, again.moved, again.run_id) == (True, True, False, None)
    assert len(promotion_runs(store)) == 1


def test_a_dry_run_decides_and_writes_nothing(store, name):
    """Not a run, not a tag, not the alias."""
    evaluated(store, name, 6, 3)
    promote(name, 1)
    before = (registry.versions(store, name), registry.model_tags(store, name), len(promotion_runs(store)))
    decision = promote(name, 2, dry_run=True)
    assert (decision.passed, decision.moved, decision.dry_run, decision.run_id) == (True, False, True, None)
    assert (registry.versions(store, name), registry.model_tags(store, name), len(promotion_runs(store))) == before


@pytest.mark.parametrize("evaluate", [[], [1], [2]])
def test_who_was_never_evaluated_is_refused_with_the_command_that_mends_it(store, name, evaluate):
    """Candidate or champion: every missing evaluation is named."""
    for _ in range(2):
        add_version(store, name)
    registry.set_alias(store, name, "champion", 1)
    for version in evaluate:
        add_evaluation(store, name, version, [])
    with pytest.raises(BadInput) as caught:
        promote(name, 2)
    spec = "project.data:test" if evaluate else "SPEC"  # the other's data, where they are known
    for version in {1, 2} - set(evaluate):
        assert f"`mlflow-pt-eval evaluate models:/{name}/{version} --data {spec} --split test`" in str(caught.value)
    assert promotion_runs(store) == []


def test_different_data_is_refused_with_the_command_that_mends_it(store, name):
    """A better number on easier data is not better."""
    for wrong, digest in ((6, "a" * 32), (0, "b" * 32)):
        spec = f"project.data:{digest[0]}"
        add_evaluation(store, name, add_version(store, name), list(range(wrong)), digest=digest, spec=spec)
    registry.set_alias(store, name, "champion", 1)
    with pytest.raises(BadInput, match=f"different data.*{'b' * 32}.*{'a' * 32}") as caught:
        promote(name, 2)
    assert f"`mlflow-pt-eval evaluate models:/{name}/2 --data project.data:a --split test`" in str(caught.value)
    assert registry.get_alias(store, name, "champion") == 1


def test_only_finished_evaluations_on_the_split_count_and_the_newest_of_them(store, name):
    """A failed evaluation, another split's and an older one decide nothing."""
    evaluated(store, name, 6)
    promote(name, 1)
    version = add_version(store, name)
    add_evaluation(store, name, version, [], complete=False, status="FAILED")
    add_evaluation(store, name, version, [], split="validation")
    with pytest.raises(BadInput, match="no finished evaluation on the split 'test'"):
        promote(name, version)
    add_evaluation(store, name, version, [])
    newest = add_evaluation(store, name, version, list(range(30)))
    decision = promote(name, version)
    assert (decision.passed, decision.evaluation_run_id) == (False, newest)


def test_of_several_data_sets_the_one_that_both_were_evaluated_on_decides(store, name):
    """The champion need not be evaluated again for data that both have seen."""
    evaluated(store, name, 6, 3)
    promote(name, 1)
    add_evaluation(store, name, 2, list(range(30)), digest="e" * 32)
    decision = promote(name, 2)
    assert (decision.passed, decision.dataset_digest) == (True, DIGEST)


def test_an_evaluation_of_another_model_under_the_same_name_and_number_does_not_count(store, name):
    """A registered model that is deleted and made again begins at version 1: what its name has seen is not its own."""
    version = add_version(store, name)
    add_evaluation(store, name, version, [])
    assert promote(name, version, dry_run=True).passed
    store.client.delete_registered_model(name)
    with pytest.raises(BadInput, match="no finished evaluation"):
        promote(name, add_version(store, name))


def test_every_gate_decides_on_real_evaluations(store, name):
    """Version 2 is wrong on 3 of 60 (one class only), version 1 on 12 others: each gate alone, and several."""
    add_evaluation(store, name, add_version(store, name), [i for i in range(60) if i % 3][:12])
    add_evaluation(store, name, add_version(store, name), [0, 3, 6])
    registry.set_alias(store, name, "champion", 1)
    table = [
        ({"threshold": 0.9}, True),
        ({"threshold": 0.96}, False),
        ({"min_delta": 0.2}, False),
        ({"max_class_drop": 0.0}, False),
        ({"max_class_drop": 0.15}, True),
        ({"metric": "log_loss"}, True),
        ({"metric": "test_accuracy"}, True),
        ({"gates": [SizeGate(max_mb=1), LatencyGate(max_ms=60_000)]}, True),
        ({"gates": [SizeGate(max_mb=0.001)]}, False),
        ({"gates": [MetricGate(), ThresholdGate(threshold=1.0)]}, False),
        ({"gates": []}, True),
        ({"confidence": 0.9}, True),
        ({"confidence": 0.9, "min_delta": 0.2}, False),
        ({"confidence": 0.9, "metric": "log_loss", "max_class_drop": 0.2}, True),
    ]
    decided = [promote(name, 2, dry_run=True, **options) for options, _ in table]
    assert [decision.passed for decision in decided] == [passed for _, passed in table], "\n\n".join(map(str, decided))


def test_a_gain_that_chance_explains_does_not_pass_with_confidence(store, name):
    """One sample of sixty is better on paper; the paired interval is not above zero."""
    evaluated(store, name, 6, 5)
    promote(name, 1)
    assert promote(name, 2, dry_run=True).passed
    assert not promote(name, 2, confidence=0.95, dry_run=True).passed
    assert promote(name, 2, confidence=0.95, tolerance=0.1, dry_run=True).passed


def test_without_a_champion_the_absolute_gates_decide(store, name):
    """The first version has to be good enough, not better than nobody."""
    evaluated(store, name, 6)
    assert not promote(name, 1, threshold=0.95, dry_run=True).passed
    assert promote(name, 1, threshold=0.9, max_class_drop=0.0, confidence=0.99, dry_run=True).passed


@pytest.mark.parametrize("deleted", [True, False])
def test_a_champion_that_is_gone_is_told(store, name, caplog, deleted):
    """MLflow drops an alias with its version, without a word; the ledger knows, and what passes says so."""
    evaluated(store, name, 6, 12)
    first = promote(name, 1)
    if deleted:
        store.client.delete_model_version(name, "1")
    else:
        store.client.delete_registered_model_alias(name, "champion")
    decision = promote(name, 2)
    how = "it was deleted" if deleted else "the alias 'champion' was taken off it"
    said = f"no champion any more (version 1 was it since {first.when}, and {how})"
    assert decision.moved
    assert decision.checks[1].detail == f"0.8; {said}, nothing to compare with"
    assert said in caplog.text


def test_losses_are_compared_where_the_criterion_is_the_same(store, name):
    """Each evaluation notes its criterion; what is asked beyond the average is refused with what can be asked."""
    data = (torch.randn(30, 4), torch.arange(30) % 3)
    for seed, smoothing in enumerate((0.0, 0.5)):
        criterion = nn.CrossEntropyLoss(label_smoothing=smoothing)
        found = evaluate(f"models:/{name}/{add_version(store, name, seed)}", data, criterion=criterion)
        assert found.metrics["loss"] > 0
    registry.set_alias(store, name, "champion", 1)
    check = promote(name, 2, metric="loss", dry_run=True).checks[1]
    assert not check.passed
    assert re.search(r"label_smoothing=0\.5.*label_smoothing=0\.0.*same criterion", check.detail)
    evaluate(f"models:/{name}/2", data, criterion=nn.CrossEntropyLoss())
    assert "against" in promote(name, 2, metric="loss", dry_run=True).checks[1].detail
    with pytest.raises(BadInput, match="keeps only its average"):
        promote(name, 2, metric="loss", confidence=0.9, dry_run=True)


def test_gates_and_the_options_that_make_gates_exclude_each_other():
    """An option that is silently ignored would be a decision nobody made."""
    with pytest.raises(BadInput, match="not both"):
        promote("m", 1, gates=[MetricGate()], threshold=0.9)


def test_one_gate_needs_no_list(store, name):
    """It is the commonest way to give one."""
    evaluated(store, name, 3)
    (_, check) = promote(name, 1, gates=ThresholdGate(threshold=0.99), dry_run=True).checks
    assert (check.gate, check.passed) == ("accuracy threshold", False)


@pytest.mark.parametrize(
    ("gates", "what"),
    [
        (MetricGate, "the class MetricGate"),
        ([ThresholdGate(threshold=1), MetricGate], "the class MetricGate"),
        ("accuracy", "'accuracy'"),
        ([None], "None"),
        ({"metric": "accuracy"}, "{'metric': 'accuracy'}"),
        (lambda pair: True, "<function"),
    ],
)
def test_what_is_no_gate_is_refused_before_anything_is_loaded(gates, what):
    """With an example of one."""
    with pytest.raises(BadInput, match=f"gates holds {what}.*which is no gate: give such as gates="):
        promote("m", 1, gates=gates)


class Yes:
    """A gate of one's own, which answers with less than a Check."""

    def check(self, pair):
        return True


def test_a_gate_that_gives_no_check_is_named(store, name):
    """With what it must give; nothing is moved or written."""
    evaluated(store, name, 3)
    with pytest.raises(BadInput, match="the gate Yes gave True: its check.pair. must return a Check"):
        promote(name, 1, gates=Yes())
    assert promotion_runs(store) == []


def test_a_ledger_that_makes_no_sense_is_named(store, name):
    """Somebody has written to the tag: neither the history nor a rollback makes anything of it."""
    evaluated(store, name, 3)
    tag = f"{names.TAG_ALIAS_LEDGER_PREFIX}champion"
    store.client.set_registered_model_tag(name, tag, '[{"action":"x","before":"q","after":null,"at":1,"by":2}]')
    for read in history, rollback:
        with pytest.raises(BadInput, match=rf"action is 'x'.*the tag '{tag}' of the registered model '{name}'"):
            read(name)


def test_the_options_make_the_gates_that_they_name():
    """What the command line offers is made of the same gates that Python has."""
    assert gates_for() == (MetricGate(),)
    assert gates_for(metric="test_f1_macro", min_delta=0.1, threshold=0.5, max_class_drop=0.2, max_size_mb=9) == (
        MetricGate(metric="f1_macro", min_delta=0.1),
        ThresholdGate(metric="f1_macro", threshold=0.5),
        ClassDropGate(max_class_drop=0.2),
        SizeGate(max_mb=9),
    )


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda name: promote("a/b", 1), BadInput),
        (lambda name: promote(name, 1, alias="v3"), BadInput),
        (lambda name: promote(name, 1, alias="1"), BadInput),
        (lambda name: promote(name, 1, alias=None), BadInput),
        (lambda name: promote(None, 1), BadInput),
        (lambda name: promote(name, 1.0), BadInput),
        (lambda name: promote(name, 1, split=None), BadInput),
        (lambda name: promote(name, 1, metric=None), BadInput),
        (lambda name: rollback(name, alias=1), BadInput),
        (lambda name: promote(name, 1, min_delta=-1.0), BadInput),
        (lambda name: promote("never registered", 1), NotFound),
        (lambda name: promote(name, 7), NotFound),
        (lambda name: promote(name, "nobody"), NotFound),
        (lambda name: promote(name, 1, metric="acuracy"), BadInput),
        (lambda name: rollback("never registered"), NotFound),
        (lambda name: rollback(name), NotFound),
    ],
)
def test_bad_input_is_refused_and_nothing_is_written(store, name, call, error):
    """A typo costs one line."""
    evaluated(store, name, 3)
    with pytest.raises(error):
        call(name)
    assert promotion_runs(store) == []
    assert registry.get_alias(store, name, "champion") is None


def model_folder(store, name, version):
    """The local folder that holds a version's files."""
    model = store.client.get_logged_model(registry.resolve(store, name, version).model_id)
    return Path(url2pathname(model.artifact_location.removeprefix("file://")))


@pytest.mark.parametrize("damage", ["files gone", "graph cut short", "logged model deleted"])
def test_a_version_that_does_not_load_is_refused_however_good_its_numbers(store, name, damage):
    """The registry says READY in all three cases."""
    evaluated(store, name, 6, 0)
    promote(name, 1)
    folder = model_folder(store, name, 2)
    if damage == "files gone":
        shutil.rmtree(folder)
    elif damage == "graph cut short":
        graph = folder / "data/model.pt2"
        graph.write_bytes(graph.read_bytes()[:100])
    else:
        store.client.delete_logged_model(registry.resolve(store, name, 2).model_id)
    decision = promote(name, 2)
    assert (decision.passed, decision.checks[0].gate, decision.checks[0].passed) == (False, "loads", False)
    assert all(check.passed for check in decision.checks[1:])
    assert registry.get_alias(store, name, "champion") == 1


def test_a_deleted_version_is_not_there_to_be_promoted(store, name):
    """The message says which versions are."""
    evaluated(store, name, 6, 3)
    store.client.delete_model_version(name, "2")
    with pytest.raises(NotFound, match="no version 2; it has 1"):
        promote(name, 2)


def test_rollback_walks_back_one_promotion_at_a_time(either, name):
    """Twice in a row is two steps; at the first champion there is nothing to go back to."""
    evaluated(either, name, 12, 6, 3)
    for version in (1, 2, 3):
        assert promote(name, version).moved
    back = [rollback(name), rollback(name)]
    assert [(d.champion, d.version, d.moved) for d in back] == [(3, 2, True), (2, 1, True)]
    assert registry.get_alias(either, name, "champion") == 1
    with pytest.raises(NotFound, match="no earlier version"):
        rollback(name)
    run = either.client.get_run(back[1].run_id)
    assert (run.info.status, run.data.tags[names.TAG_KIND]) == ("FINISHED", "promotion")
    moves = history(name)
    assert moves[["alias", "action", "after"]].to_numpy().tolist() == [
        ["champion", "promote", 1],
        ["champion", "promote", 2],
        ["champion", "promote", 3],
        ["champion", "rollback", 2],
        ["champion", "rollback", 1],
    ]
    assert moves["before"].isna().tolist() == [True, False, False, False, False]


def test_rollback_passes_over_what_is_deleted_or_does_not_load(store, name, caplog):
    """The command is for an emergency: it ends on a version that works, and says what it passed over."""
    evaluated(store, name, 12, 9, 6, 3)
    for version in (1, 2, 3, 4):
        promote(name, version)
    store.client.delete_model_version(name, "3")
    shutil.rmtree(model_folder(store, name, 2))
    with caplog.at_level(logging.WARNING):
        decision = rollback(name)
    assert (decision.champion, decision.version) == (4, 1)
    assert "version 3" in caplog.text
    assert "version 2 does not load" in caplog.text


def test_rollback_finds_the_champion_again_whose_alias_went_with_a_deleted_version(store, name):
    """MLflow drops the alias of a deleted version without a word."""
    evaluated(store, name, 12, 6)
    promote(name, 1)
    promote(name, 2)
    store.client.delete_model_version(name, "2")
    assert rollback(name).version == 1


def test_versions_are_listed_with_aliases_and_metrics_and_a_doomed_alias_is_named(either, name, caplog):
    """What `mlflow gc` would destroy is said where it can be seen."""
    evaluated(either, name, 12, 6)
    promote(name, 2)
    registry.tag_version(
        either, name, 1, {"pt_eval.monitor": "val_accuracy", "pt_eval.value": "0.5", "pt_eval.test_accuracy": "?"}
    )
    assert versions(name)[["version", "epoch", "monitor", "value"]].astype(object).fillna("-").to_numpy().tolist() == [
        [1, 4, "val_accuracy", 0.5],
        [2, 4, "-", "-"],
    ]
    assert versions(name)["aliases"].tolist() == [[], ["champion"]]
    assert "gc" not in caplog.text
    either.client.delete_logged_model(registry.resolve(either, name, 2).model_id)
    versions(name)
    assert "`mlflow gc` would delete" in caplog.text


def test_a_promotion_inside_a_users_run_leaves_its_status_alone(store, name):
    """Under `mlflow run`, the run that is given is used; a second promotion in it gets a child."""
    evaluated(store, name, 12, 6)
    with mlflow.start_run() as run:
        first, second = promote(name, 1), promote(name, 2)
        assert first.run_id == run.info.run_id
        assert store.client.get_run(run.info.run_id).info.status == "RUNNING"
    child = store.client.get_run(second.run_id)
    assert child.data.tags[names.MLFLOW_PARENT_RUN_ID] == run.info.run_id
    assert child.info.status == "FINISHED"


def test_the_command_lines_answer_is_json_alone_and_its_status_the_decision(server, tracking, name):
    """Over HTTP MLflow prints links to stdout; a script that reads our JSON must not meet them."""
    mlflow.set_tracking_uri(server)
    evaluated(connect(), name, 6, 9)
    verb = [sys.executable, "-W", "ignore", "-m", "mlflow_pt_eval", "promote", name]
    done = subprocess.run([*verb, "1", "--json"], capture_output=True, text=True, check=False)
    assert (done.returncode, json.loads(done.stdout)["moved"]) == (0, True), done.stderr
    done = subprocess.run([*verb, "2", "--dry-run"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (1, "refused: the alias 'champion' stays where it is")


def test_a_promotion_draws_no_random_numbers(store, name):
    """MLflow draws from `random` for a run's name: the caller's sequence must not notice."""
    import random

    evaluated(store, name, 3)
    random.seed(0)
    expected = random.random()
    random.seed(0)
    promote(name, 1)
    assert random.random() == expected


def test_of_two_processes_that_promote_at_once_one_wins_and_the_other_is_told(either, name):
    """Both decided against version 1; nothing is overwritten silently, whichever comes second."""
    evaluated(either, name, 12, 6, 3)
    promote(name, 1)
    code = (
        "import sys\n"
        "from mlflow_pt_eval.errors import PromotionConflict\n"
        "import mlflow_pt_eval.promotion.verbs as verbs\n"
        "carry_out = verbs._carry_out\n"
        "def waiting(store, decision):\n"
        "    print('decided', flush=True)\n"
        "    sys.stdin.readline()\n"
        "    return carry_out(store, decision)\n"
        "verbs._carry_out = waiting\n"  # a barrier between deciding and moving, nothing else
        "try:\n"
        "    print('won', verbs.promote(sys.argv[1], sys.argv[2]).moved)\n"
        "except PromotionConflict as error:\n"
        "    print('lost', error)\n"
    )
    racers = [
        subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", code, name, version],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for version in ("2", "3")
    ]
    assert [racer.stdout.readline() for racer in racers] == ["decided\n", "decided\n"]
    for racer in racers:
        racer.stdin.write("go\n")
        racer.stdin.flush()
    outcomes = [racer.communicate(timeout=120)[0].strip().splitlines()[-1] for racer in racers]
    assert sorted(outcome.split()[0] for outcome in outcomes) == ["lost", "won"], outcomes
    winner = 2 + [outcome.split()[0] for outcome in outcomes].index("won")
    assert registry.get_alias(either, name, "champion") == winner
    assert [move.after for move in read_ledger(either, name, "champion")] == [1, winner]
    assert sorted(run.info.status for run in promotion_runs(either) if name in run.info.run_name)[0] == "FAILED"


def test_a_lost_race_is_an_error_and_its_run_failed(store, name, monkeypatch):
    """The alias moved between the decision and the move."""
    evaluated(store, name, 12, 6, 3)
    promote(name, 1)
    from mlflow_pt_eval.promotion import verbs

    decided = verbs._decide

    def overtaken(*args):
        decision = decided(*args)
        registry.set_alias(store, name, "champion", 3)
        return decision

    monkeypatch.setattr(verbs, "_decide", overtaken)
    with pytest.raises(PromotionConflict, match=r"moved to version 3 \(expected: version 1\)"):
        promote(name, 2)
    assert registry.get_alias(store, name, "champion") == 3
    assert names.TAG_DECISION not in registry.resolve(store, name, 2).tags
    assert promotion_runs(store)[0].info.status == "FAILED"

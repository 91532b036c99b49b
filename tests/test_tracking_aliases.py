"""Moving an alias: nobody's move is lost, over SQLite and over HTTP, between threads and between processes."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from dataclasses import replace

import pytest
from mlflow import MlflowClient

from mlflow_pt_eval.errors import BadInput, NotFound, PromotionConflict, StoreUnavailable
from mlflow_pt_eval.ledger import Move
from mlflow_pt_eval.names import TAG_ALIAS_CLAIM_PREFIX, TAG_ALIAS_LEDGER_PREFIX
from mlflow_pt_eval.tracking import registry
from mlflow_pt_eval.tracking.aliases import CLAIM_SECONDS, check_movable, claimed, move_alias, read_ledger
from mlflow_pt_eval.tracking.store import connect

NOW = 1_800_000_000.0


@pytest.fixture(params=["sqlite", "http"])
def store(request, tracking):
    """A store of each kind."""
    return connect(request.getfixturevalue("server") if request.param == "http" else tracking)


@pytest.fixture
def name(store):
    """A registered model with three versions and no alias."""
    name = f"m-{uuid.uuid4().hex[:8]}"
    for _ in range(3):
        made = store.client.create_logged_model(store.experiment_id("alias tests"), name="m")
        registry.create_version(store, name, model_id=made.model_id, run_id=None, tags={})
    return name


def move(before, after, action="promote"):
    """One move, by me."""
    return Move(action=action, before=before, after=after, at="2026-01-02T03:04:05Z", by="me@here")


def claim(store, name, key, at=NOW, by="you@there"):
    """Set a claim as another process would, under a key that sorts as the test needs it."""
    tag = f"{TAG_ALIAS_CLAIM_PREFIX}champion.{key}"
    store.client.set_registered_model_tag(name, tag, json.dumps({"at": at, "by": by}))
    return tag


def claims(store, name):
    """The claims that stand in the store."""
    return [key for key in registry.model_tags(store, name) if key.startswith(TAG_ALIAS_CLAIM_PREFIX)]


def test_a_move_sets_the_alias_and_is_noted(store, name):
    """The ledger holds every move, oldest first; no claim is left behind."""
    move_alias(store, name, "champion", move(None, 1))
    move_alias(store, name, "champion", move(1, 3))
    assert registry.get_alias(store, name, "champion") == 3
    assert read_ledger(store, name, "champion") == (move(None, 1), move(1, 3))
    assert claims(store, name) == []


def test_a_decision_against_another_champion_is_a_conflict_and_overwrites_nothing(store, name):
    """The alias moved between the decision and the move: what stands there stays."""
    move_alias(store, name, "champion", move(None, 2))
    with pytest.raises(PromotionConflict, match=r"moved to version 2 \(expected: version 1\).*decide anew"):
        move_alias(store, name, "champion", move(1, 3))
    assert registry.get_alias(store, name, "champion") == 2
    assert read_ledger(store, name, "champion") == (move(None, 2),)
    assert claims(store, name) == []


def test_each_alias_has_a_ledger_and_claims_of_its_own(store, name):
    """Moving the challenger neither waits for the champion nor shows in its history."""
    with claimed(store, name, "champion", by="me"):
        move_alias(store, name, "challenger", move(None, 1))
    assert read_ledger(store, name, "champion") == ()


def test_of_two_that_overlap_the_one_with_the_larger_key_withdraws(store, name):
    """It says who is at it, and how to get past a process that died."""
    other = claim(store, name, "0")  # sorts before any random key
    with (
        pytest.raises(PromotionConflict, match=r"being moved by you@there \(for 5 s\).*delete the tag") as caught,
        claimed(store, name, "champion", by="me", clock=lambda: NOW + 5),
    ):
        pytest.fail("the claim was given although another one stands")
    assert repr(other) in str(caught.value)
    assert claims(store, name) == [other]


def test_of_two_that_overlap_the_one_with_the_smaller_key_waits_for_the_other_to_finish(store, name):
    """So that one of them always goes through."""
    other, waits = claim(store, name, "z"), []

    def sleep(seconds):
        waits.append(seconds)
        if len(waits) == 3:
            store.client.delete_registered_model_tag(name, other)

    with claimed(store, name, "champion", by="me", clock=lambda: NOW, sleep=sleep):
        assert len(waits) == 3
        assert len(claims(store, name)) == 1


def test_the_wait_for_the_other_has_an_end(store, name):
    """A process that hangs under its claim is named, not waited for without end."""
    claim(store, name, "z")
    with (
        pytest.raises(PromotionConflict, match="being moved by you@there"),
        claimed(store, name, "champion", by="me", clock=lambda: NOW, sleep=lambda _: None),
    ):
        pytest.fail("the claim was given although another one stands")


@pytest.mark.parametrize("value", [json.dumps({"at": NOW, "by": "you"}), "not a claim", "[]"])
def test_a_claim_that_nobody_cleared_away_blocks_nothing(store, name, value):
    """A process that was killed in the middle holds the alias for ten minutes at most."""
    store.client.set_registered_model_tag(name, f"{TAG_ALIAS_CLAIM_PREFIX}champion.0", value)
    with claimed(store, name, "champion", by="me", clock=lambda: NOW + CLAIM_SECONDS):
        assert len(claims(store, name)) == 1
    assert claims(store, name) == []


class MovedByAnother(MlflowClient):
    """A client whose alias is moved to version 3 by something else right after each setting."""

    def set_registered_model_alias(self, name, alias, version):
        super().set_registered_model_alias(name, alias, version)
        super().set_registered_model_alias(name, alias, "3")


def test_a_move_that_is_overwritten_at_once_is_found_by_reading_back(store, name):
    """What knows of no claims, such as MLflow's UI, may come right after us: that is said, and not noted as ours."""
    beset = replace(store, client=MovedByAnother(store.tracking_uri, store.registry_uri))
    with pytest.raises(PromotionConflict, match=r"moved to version 3 \(expected: version 2\) right after"):
        move_alias(beset, name, "champion", move(None, 2))
    assert registry.get_alias(store, name, "champion") == 3
    assert read_ledger(store, name, "champion") == ()


class GoneAfterTheMove(MlflowClient):
    """A client whose server goes away right after the alias is set."""

    gone = False

    def set_registered_model_alias(self, name, alias, version):
        super().set_registered_model_alias(name, alias, version)
        self.gone = True

    def _check(self):
        if self.gone:
            raise ConnectionError("Connection refused")

    def get_registered_model(self, name):
        self._check()
        return super().get_registered_model(name)

    def delete_registered_model_tag(self, name, key):
        self._check()
        super().delete_registered_model_tag(name, key)


def test_a_store_that_goes_away_in_the_middle_is_not_called_a_move_that_did_not_happen(store, name, caplog):
    """The alias did move; the error says that it may have, and the claim that stays is named."""
    beset = replace(store, client=GoneAfterTheMove(store.tracking_uri, store.registry_uri))
    with pytest.raises(StoreUnavailable, match="it may have moved, without a line in its ledger"):
        move_alias(beset, name, "champion", move(None, 2))
    assert registry.get_alias(store, name, "champion") == 2
    (left,) = claims(store, name)
    assert left in caplog.text


def test_a_ledger_that_someone_changed_stops_the_move_before_it_is_made(store, name):
    """The message names the tag; the alias has not moved."""
    store.client.set_registered_model_tag(name, f"{TAG_ALIAS_LEDGER_PREFIX}champion", "{broken")
    with pytest.raises(BadInput, match=r"ledger cannot be read.*'pt_eval\.ledger\.champion'"):
        move_alias(store, name, "champion", move(None, 1))
    assert registry.get_alias(store, name, "champion") is None


def test_an_alias_whose_tags_would_be_too_long_is_refused():
    """The tags hold the alias's name, and their keys have 250 characters."""
    assert check_movable("a" * 200) == "a" * 200
    with pytest.raises(BadInput, match="too long"):
        check_movable("a" * 210)


def test_a_model_that_does_not_exist_has_no_ledger(store):
    """A typo in the name is no empty history."""
    with pytest.raises(NotFound, match="no registered model"):
        read_ledger(store, "never registered", "champion")


def test_of_processes_that_race_for_one_alias_exactly_one_wins(store, name):
    """All decided against version 1: one moves it, the others are told, and the ledger tells the same story."""
    move_alias(store, name, "champion", move(None, 1))
    code = (
        "import sys\n"
        "from mlflow_pt_eval.errors import PromotionConflict\n"
        "from mlflow_pt_eval.ledger import Move\n"
        "from mlflow_pt_eval.tracking.aliases import move_alias\n"
        "from mlflow_pt_eval.tracking.store import connect\n"
        "uri, name, after = sys.argv[1:]\n"
        "store = connect(uri)\n"
        "print('ready', flush=True)\n"
        "sys.stdin.readline()\n"
        "try:\n"
        "    move_alias(store, name, 'champion', Move(action='promote', before=1, after=int(after), at='', by=after))\n"
        "except PromotionConflict as error:\n"
        "    print('lost', error)\n"
        "else:\n"
        "    print('won')\n"
    )
    racers = {
        after: subprocess.Popen(
            [sys.executable, "-c", code, store.tracking_uri, name, str(after)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for after in (2, 3)
    }
    for racer in racers.values():
        assert racer.stdout.readline() == "ready\n"
    for racer in racers.values():
        racer.stdin.write("go\n")
        racer.stdin.flush()
    outcomes = {after: racer.communicate(timeout=120)[0].split()[0] for after, racer in racers.items()}
    assert sorted(outcomes.values()) == ["lost", "won"], outcomes
    winner = next(after for after, outcome in outcomes.items() if outcome == "won")
    assert registry.get_alias(store, name, "champion") == winner
    assert [m.after for m in read_ledger(store, name, "champion")] == [1, winner]
    assert claims(store, name) == []

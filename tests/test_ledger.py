"""The ledger is pure: moves in, text and the way back out."""

from __future__ import annotations

import json

import pytest

from mlflow_pt_eval.errors import BadInput
from mlflow_pt_eval.ledger import MAX_CHARACTERS, Move, decode, earlier, encode


def moves(text):
    """Read `1>2 2>3 3<2`: promotions with '>', rollbacks with '<', '-' for no version."""
    made = []
    for step in text.split():
        sign = "<" if "<" in step else ">"
        before, after = step.split(sign)
        made.append(
            Move(
                action="rollback" if sign == "<" else "promote",
                before=None if before == "-" else int(before),
                after=int(after),
                at="2026-01-02T03:04:05Z",
                by="someone@somewhere",
                run_id="0" * 32,
            )
        )
    return tuple(made)


@pytest.mark.parametrize(
    ("ledger", "current", "back"),
    [
        ("", 3, []),
        ("->1", 1, []),  # the first champion has nothing before it
        ("->1 1>2", 2, [1]),
        ("->1 1>2 2>3", 3, [2, 1]),
        ("->1 1>2 2>3 3<2", 2, [1]),  # the second rollback in a row goes one further back
        ("->1 1>2 2>3 3<2 2<1", 1, []),
        ("->1 1>2 2>3 3<2 2>4", 4, [2, 1]),  # what was rolled back from is not come back to
        ("->1 1>2 2>3 3<1", 1, []),  # a rollback may have gone two steps
        ("1>2", 2, [1]),  # the champion before the first entry was set by hand
        ("->1 1>2 5>6", 6, [5, 2, 1]),  # moved by hand from 2 to 5 in between
        ("->1 1>2", 7, [2, 1]),  # moved by hand since: that step is undone first
        ("->1 1>2", None, [2, 1]),  # the champion was deleted, and the alias with it
        ("->1 1>2 1<2", 2, [1]),  # that step undone
        ("3<2", 2, []),  # all before it has been dropped
        ("->1 1>2 2>1", 1, [2]),  # each version once
    ],
)
def test_a_rollback_leads_to_what_stood_before_nearest_first(ledger, current, back):
    """Promotions go on, rollbacks go back; twice in a row is two steps."""
    assert earlier(moves(ledger), current) == back


def test_what_is_written_is_read_back():
    """The tag's text holds every fact of every move."""
    made = moves("->1 1>2 2<1")
    assert decode(encode(made)) == made
    assert decode(None) == ()


def test_a_full_ledger_drops_the_oldest_and_never_the_newest():
    """The tag has a limit; the newest moves are what a rollback needs."""
    made = moves(" ".join(f"{v}>{v + 1}" for v in range(200)))
    kept = decode(encode(made))
    assert kept == made[-len(kept) :]
    assert len(encode(made)) <= MAX_CHARACTERS < len(encode(made[-len(kept) - 1 :], limit=10**6))
    assert decode(encode(made, limit=1)) == made[-1:]


GOOD = {"action": "promote", "before": None, "after": 1, "at": "", "by": ""}


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[1]",
        '[{"action": "promote"}]',
        "3",
        '[{"unknown": 1}]',
        *(
            json.dumps([GOOD | {key: value}])
            for key, value in [
                ("action", "x"),
                ("before", "q"),
                ("after", None),
                ("after", True),
                ("at", 1),
                ("by", 2),
                ("run_id", 3),
            ]
        ),
    ],
)
def test_a_ledger_that_someone_changed_is_not_guessed_at(text):
    """A damaged ledger would make a rollback lead anywhere."""
    with pytest.raises(BadInput, match="ledger cannot be read"):
        decode(text)

"""Rules of how numbers and names are put into words."""

from __future__ import annotations

import pytest

from mlflow_pt_eval.errors import first_line
from mlflow_pt_eval.wording import compact, percent, score, shorten, text_table


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0.0000"),
        (0.00004, "<0.0001"),
        (0.00005, "0.0001"),
        (0.12345, "0.1235"),
        (0.99994, "0.9999"),
        (0.99995, ">0.9999"),
        (0.9999999, ">0.9999"),
        (1.0, "1.0000"),
        (-0.5, "-0.5000"),
        (12.34567, "12.3457"),
    ],
)
def test_a_score_short_of_perfect_is_never_shown_as_perfect(value: float, text: str) -> None:
    """Four decimals, but 1 and 0 are shown for exactly 1 and 0 only."""
    assert score(value) == text


@pytest.mark.parametrize(
    ("share", "digits", "text"),
    [(0, 1, "0"), (1, 1, "100"), (0.9996, 1, ">99.9"), (0.0004, 1, "<0.1"), (0.996, 0, ">99"), (0.25, 1, "25.0")],
)
def test_a_share_short_of_all_is_never_shown_as_all(share: float, digits: int, text: str) -> None:
    """The same rule in per cent."""
    assert percent(share, digits) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0"),
        (999, "999"),
        (1000, "1k"),
        (9949, "9.9k"),
        (9951, "10k"),
        (999_499, "999k"),
        (999_500, "1M"),
        (7_250_000, "7.2M"),
        (10**9, "1G"),
        (5 * 10**12, "5000G"),
    ],
)
def test_a_count_becomes_a_few_characters(count: int, text: str) -> None:
    """Thousands, millions and thousands of millions, without a step back at their borders."""
    assert compact(count) == text


@pytest.mark.parametrize("limit", range(1, 12))
def test_a_name_is_cut_in_its_middle(limit: int) -> None:
    """Both ends stay, the result has exactly the length that it may have; what fits stays as it is."""
    cut = shorten("golden_retriever", limit)
    assert len(cut) == limit
    assert "…" in cut
    assert "golden_retriever".startswith(cut.partition("…")[0])
    assert "golden_retriever".endswith(cut.partition("…")[2])
    assert shorten("cat", 3) == "cat"


def test_a_table_is_aligned_by_what_its_columns_hold() -> None:
    """Numbers to the right, also below a missing one; no blanks at a line's end; a head alone is a table."""
    rows = [("a", None, ["x", "y"]), ("bcd", 0.5, []), ("e", float("nan"), ())]
    assert text_table(("name", "v", "tags"), rows).split("\n") == [
        "name       v  tags",
        "a          -  x, y",
        "bcd   0.5000  -",
        "e        nan  -",
    ]
    assert text_table(("name", "v"), []) == "name  v"


def test_another_librarys_error_is_cut_at_a_word() -> None:
    """Half a word reads like another one."""
    assert first_line(ValueError("word " * 100)) == "word " * 59 + "word …"
    assert first_line(ValueError("x" * 400)) == "x" * 300 + " …"
    assert first_line(ValueError("short\nand more")) == "short"
    assert first_line(ValueError()) == "ValueError"

"""Rules of the page that an evaluation leaves."""

from __future__ import annotations

import re
from base64 import b64decode
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser

import numpy as np
import pytest
from evaluations import HOSTILE, evaluation, hard_ones

from mlflow_pt_eval import figures, names
from mlflow_pt_eval.metrics import Evaluation, auc_band, evaluate_scores
from mlflow_pt_eval.metrics.result import ClassMetrics, Curves, ThresholdTable
from mlflow_pt_eval.names import Task
from mlflow_pt_eval.report import render, words
from mlflow_pt_eval.wording import score

HARD = hard_ones()
PNG = figures.png_bytes(np.zeros((20, 30, 4), np.uint8))
EVIL = '<script>alert("1")</script><img src=x onerror=alert(1)>'


class Reader(HTMLParser):
    """Reads a page into its tags, its text, and what its attributes would load; complains about unclosed tags."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.sources: list[str] = []
        self.titles: list[str] = []
        self.contents: list[str] = []
        self.words: list[str] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in {"meta", "img"}:
            self.open.append(tag)
        for name, value in attrs:
            assert not name.startswith("on")
            if name in {"src", "href", "action", "data"}:
                self.sources.append(value or "")
            if name == "content":
                self.contents.append(value or "")
            if name == "title":
                self.titles.append(value or "")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(self.words)


@pytest.mark.parametrize("hard", HARD.values(), ids=HARD.keys())
def test_a_page_is_whole_and_loads_nothing(hard: Evaluation) -> None:
    """Whatever an evaluation holds, its page is well-formed, without scripts, and every image is inside it."""
    page = render(hard, {names.ROC_PNG: PNG})
    read = Reader(page)
    assert {"script", "link", "iframe", "object", "base", "form"}.isdisjoint(read.tags)
    assert all(source.startswith("data:image/png;base64,") for source in read.sources)
    assert "url(" not in page
    assert "@import" not in page
    assert any("default-src 'none'" in content for content in read.contents)


def test_figures_are_inside_as_they_are() -> None:
    """Each PNG is there byte for byte, in the order given, with its size, so that nothing jumps while it loads."""
    other = figures.png_bytes(np.full((40, 50, 4), 255, np.uint8))
    page = render(HARD["binary"], {names.ROC_PNG: PNG, "own.png": other}, mistakes_figure=PNG)
    inside = [b64decode(source.partition(",")[2]) for source in Reader(page).sources]
    assert inside == [PNG, other, PNG]
    assert 'width="30" height="20"' in page
    assert 'alt="own.png" width="50" height="40"' in page


def test_every_figure_has_a_heading_and_its_main_number_in_words() -> None:
    """Who goes from heading to heading, or does not see the figure, knows what stands there."""
    for hard in (HARD["binary"], HARD["multilabel"]):
        page = render(hard, dict.fromkeys(words.FIGURES, PNG))
        for name in words.FIGURES:
            assert f"<h2>{words.figure_title(name, hard.task)}</h2><img" in page
        alt = re.findall(r'alt="([^"]*)"', page)
        area = hard.metrics["roc_auc" if hard.task == "binary" else "roc_auc_macro"]
        assert any(text.startswith("ROC curve, ROC AUC") and text.endswith(score(area)) for text in alt)
        assert sum(", " in text for text in alt) >= 4  # of those of several labels no confusion matrix has an accuracy


def test_confusion_by_label_has_a_heading_of_its_own() -> None:
    """The figure holds a matrix of two rows for each label, of which no row is a class."""
    page = render(HARD["multilabel"], dict.fromkeys(words.FIGURES, PNG))
    assert "<h2>Confusion by label, in per cent of each row</h2>" in page
    assert "true class" not in page
    assert "in per cent of each true class" in render(HARD["binary"], dict.fromkeys(words.FIGURES, PNG))


def known_keys() -> list[tuple[Task, str]]:
    """Return every key that an evaluation can log, with its task."""
    labels = {
        "binary": np.arange(12) % 2,
        "multiclass": np.arange(12) % 6,
        "multilabel": np.add.outer(np.arange(12), np.arange(6)) % 2,
    }
    found = []
    for task, truth in labels.items():
        scores = np.full((12, 2 if task == "binary" else 6), 0.5 if task != "multiclass" else 1 / 6)
        made = evaluate_scores(truth, scores, task=task, loss=1.0, bootstrap=0)
        found += [(task, key) for key in made.metrics if key != "n_samples"]
    return found


@pytest.mark.parametrize(("task", "key"), known_keys())
def test_every_metric_says_what_it_says(task: Task, key: str) -> None:
    """In its task's own words: of several labels there are no classes, and all of them have to be right."""
    assert words.meaning(key, task)
    assert task != "multilabel" or "class" not in words.meaning(key, task)


def test_no_words_are_of_a_metric_that_is_never_logged() -> None:
    """The words are those of the keys, no more."""
    known = known_keys()
    assert set(words.MULTILABEL) == {key for task, key in known if task == "multilabel"}
    assert set(words.METRICS) == {key for task, key in known if task != "multilabel"}


def test_the_accuracy_of_several_labels_leads_with_what_it_asks() -> None:
    """All labels must be right, so that it is low; the share of wrong decisions stands beside it."""
    text = Reader(render(HARD["multilabel"], {})).text
    assert text.index("Accuracy, all labels right") < text.index("Hamming loss") < text.index("Metrics")
    assert "Accuracy, all labels right" not in Reader(render(HARD["binary"], {})).text


def test_every_text_of_a_user_is_escaped() -> None:
    """Names of classes and data sets, URIs, warnings, context and mistakes are shown as text, never read as HTML."""
    hostile = replace(
        evaluation(2, names=[EVIL, "b"]),
        model_uri=EVIL,
        dataset_name=EVIL,
        dataset_digest=EVIL,
        split=EVIL,
        warnings=(EVIL,),
    )
    rows = [{EVIL: EVIL, "p": 0.5}]
    read = Reader(render(hostile, {EVIL: PNG}, context={EVIL: EVIL}, mistakes=rows, mistakes_figure=PNG))
    assert "script" not in read.tags
    assert read.tags.count("img") == 2
    assert read.text.count(EVIL) >= 9


def test_every_metric_is_shown_short_with_all_its_digits_behind() -> None:
    """Four decimals to read, the full value in the title, and the interval where there is one."""
    evaluated = HARD["binary"]
    read = Reader(render(evaluated, {}))
    for key, value in evaluated.metrics.items():
        if key != "n_samples":
            assert repr(value) in read.titles, key
    low, high = evaluated.intervals["accuracy"]
    assert f"{score(low)} – {score(high)}" in read.text
    assert f"{low!r} – {high!r}" in read.titles
    assert f"ROC AUC in words:  {auc_band(evaluated.metrics['roc_auc'])}" in read.text


def test_small_values_keep_their_digits() -> None:
    """A log loss of 0.00001234 is not shown as 0."""
    evaluated = replace(HARD["binary"], metrics={"log_loss": 0.00001234, "accuracy": 0.0, "own_metric": 12.5})
    text = Reader(render(evaluated, {})).text
    assert text.count("1.23e-05") == 1
    assert "0.0000" in text
    assert "Own metric 12.5000" in text


def test_the_header_says_what_was_evaluated_on_what() -> None:
    """Model, data set, digest, split, number of samples, task, and the lines that the caller adds."""
    text = Reader(render(HARD["binary"], {}, context={"When": "2026-11-23 10:00 UTC"})).text
    for part in (
        "models:/digits/3",
        "digits",
        "0123456789abcdef" * 2,
        "test",
        "400",
        "binary, 2 classes",
        "2026-11-23",
    ):
        assert part in text


def test_what_is_not_known_is_left_out() -> None:
    """A page of an evaluation without model, data set and curves has no empty lines in its header."""
    bare = replace(HARD["binary"], model_uri=None, dataset_name=None, dataset_digest=None, curves=Curves())
    text = Reader(render(bare, {})).text
    assert "Evaluation of a model" in text
    for absent in ("Digest", "Data set", "None", "Threshold", "Worst mistakes", "To know"):
        assert absent not in text


def test_warnings_are_shown() -> None:
    """What had to be said once is said on the page too."""
    assert "class 7 is absent" in Reader(render(replace(HARD["binary"], warnings=("class 7 is absent",)), {})).text


def many_classes(count: int) -> Evaluation:
    """Return an evaluation with *count* rows in its per-class table, the last ones the worst."""
    rows = tuple(ClassMetrics(f"class {k}", 0.5, 0.5, 1 - k / count, 7, None, 0.25) for k in range(count))
    confusion = np.ones((count, 2, 2), np.int64)
    return replace(HARD["multilabel"], per_class=rows, class_names=tuple(row.name for row in rows), confusion=confusion)


def cells(page: str, head: str) -> list[list[str]]:
    """Return the texts of the cells under a table's row of *head*, a row each."""
    body = page.partition(f">{head}</th>")[2].partition("<tbody>")[2].partition("</tbody>")[0]
    found = (re.findall(r"<td[^>]*>(?:<[^>]*>)*([^<]*)", line) for line in body.split("</tr>")[:-1])
    return [list(map(unescape, texts)) for texts in found]


def test_names_have_their_index_where_they_are_not_the_index() -> None:
    """Figures call names that look alike, or that they cannot draw, by it."""
    alike = render(evaluation(3, names=["cat", "cat ", "dog"]), {})
    assert [row[:2] for row in cells(alike, "Class")] == [["0", "cat"], ["1", "cat "], ["2", "dog"]]
    assert [row[0] for row in cells(render(HARD["perfect"], {}), "Class")] == ["0", "1", "2"]
    folded = cells(render(many_classes(100), {}), "Label")
    assert [row[:2] for row in folded] == [[str(k), f"class {k}"] for k in range(99, 79, -1)]


def test_what_is_undefined_is_not_shown_as_0() -> None:
    """Recall and F1 of a class without samples, the precision of one that is never predicted; as in the figures."""
    truth = np.array([0, 0, 1, 2])
    made = evaluate_scores(truth, np.eye(5)[[0, 0, 0, 3]], task="multiclass", bootstrap=0)
    rows = cells(render(made, {}), "Class")
    assert [row[2:5] for row in rows] == [
        ["0.6667", "1.0000", "0.8000"],
        ["–", "0.0000", "0.0000"],
        ["–", "0.0000", "0.0000"],
        ["0.0000", "–", "–"],
        ["–", "–", "–"],
    ]


def test_classes_without_samples_are_not_the_worst() -> None:
    """Of many classes those come first of which something can be found."""
    rows = tuple(
        replace(row, support=0, f1=0.0) if k < 50 else row for k, row in enumerate(many_classes(100).per_class)
    )
    shown = cells(render(replace(many_classes(100), per_class=rows), {}), "Label")
    assert [row[0] for row in shown] == [str(k) for k in range(99, 79, -1)]


def test_of_many_classes_the_worst_come_first_and_the_rest_is_folded() -> None:
    """Twenty rows with the lowest F1, then the others in their own order inside <details>; each exactly once."""
    page = render(many_classes(100), {})
    shown, _, rest = page.partition("<summary>The other 80")
    order = re.compile(r">class (\d+)<")
    assert [int(k) for k in order.findall(shown)] == list(range(99, 79, -1))
    assert [int(k) for k in order.findall(rest)] == list(range(80))


@pytest.mark.parametrize("count", [1000, 100_000])
def test_a_page_stays_below_two_megabytes(count: int) -> None:
    """With a thousand classes and full figures, and where even the table would be too long."""
    heavy = {f"{k}.png": PNG + bytes(100_000) for k in range(6)}
    assert len(render(many_classes(count), heavy).encode()) < 2_000_000


def test_the_threshold_table_shows_the_marked_points_and_those_around() -> None:
    """Rows spread over all thresholds, the two marked ones among them and named."""
    table = HARD["binary"].curves.thresholds
    assert table is not None
    read = Reader(render(HARD["binary"], {}))
    assert "largest Youden's J" in read.text
    assert "best F1" in read.text
    for row in (table.youden_index, table.best_f1_index):
        assert repr(float(table.threshold[row])) in read.titles


def test_the_threshold_in_use_is_in_its_place_among_the_others() -> None:
    """At 0.5, marked, with the numbers that the predictions have everywhere else."""
    evaluated = HARD["binary"]
    rows = cells(render(evaluated, {}), "Threshold")
    place, row = next((place, row) for place, row in enumerate(rows) if "in use" in row[-1])
    tn, fp = evaluated.confusion[0]
    values = evaluated.metrics["recall"], fp / (tn + fp), evaluated.metrics["precision"], evaluated.metrics["f1"]
    assert row[:-1] == ["0.5000", *map(score, values)]
    assert float(rows[place - 1][0]) > 0.5 > float(rows[place + 1][0])
    assert '<tr class="marked"><td class="n" title="0.5">' in render(evaluated, {})


def test_the_row_in_use_stands_at_the_end_where_all_thresholds_are_higher() -> None:
    """And before one at 0.5, whose row counts what is 0.5 as positive; a precision of nothing is no 0."""
    same = np.array([0.25, 0.5, 1.0])
    for thresholds, place in (([0.9, 0.8, 0.7], 3), ([0.9, 0.5, 0.1], 1), ([0.3, 0.2, 0.1], 0)):
        table = ThresholdTable(np.array(thresholds), same, same, same, same, youden_index=0, best_f1_index=0)
        none = replace(HARD["binary"], curves=Curves(thresholds=table), confusion=np.array([[5, 0], [3, 0]]))
        rows = cells(render(none, {}), "Threshold")
        assert ["in use" in row[-1] for row in rows].index(True) == place
        assert rows[place][1:4] == ["0.0000", "0.0000", "–"]


def test_one_label_is_not_called_labels() -> None:
    """Nor one class classes."""
    assert "multilabel, 1 label" in Reader(render(HARD["one label"], {})).words
    assert "multilabel, 7 labels" in Reader(render(HARD["multilabel"], {})).words
    assert "multiclass, 1 class" in Reader(render(HARD["one class"], {})).words


def test_the_threshold_tables_columns_are_of_one_format() -> None:
    """Rates have four decimals, however small; a threshold is short of 1 if it is, and told from the next."""
    near = 1 - np.array([0, 1, 2, 30, 900], np.float64) * 2.0**-24
    rising = np.array([0.0004, 0.00002, 0.3, 0.5, 1.0])
    hard = ThresholdTable(near, rising, rising, rising, rising, youden_index=3, best_f1_index=4)
    page = render(replace(HARD["binary"], curves=Curves(thresholds=hard)), {})
    rows = [row for row in cells(page, "Threshold") if "in use" not in row[-1]]
    assert [row[0] for row in rows] == ["1.000", "0.9999999", "0.9999999", "0.9999982", "0.9999"]
    assert [row[1] for row in rows] == ["0.0004", "<0.0001", "0.3000", "0.5000", "1.0000"]


def test_a_metric_without_an_interval_has_an_empty_place() -> None:
    """Some evaluations have an interval of the accuracy alone, or none: then there is no column."""
    one = replace(HARD["binary"], intervals={"accuracy": (0.25, 0.75)})
    assert Reader(render(one, {})).text.count("0.2500 – 0.7500") == 2
    none = Reader(render(replace(one, intervals={}), {})).text
    assert "interval" not in none
    assert "None" not in none
    assert "nan" not in none


def test_mistakes_are_a_table_of_what_was_given() -> None:
    """The first row's keys are the columns; whole numbers, which may be indices, have no separators."""
    rows = [{"index": 12345, "true": "a", "p": 0.000123456, "seen": True}, {"index": 2, "true": None}]
    text = Reader(render(HARD["binary"], {}, mistakes=rows)).text
    assert "index true p seen 12345 a 0.000123 True 2 – – –" in text


def test_hostile_class_names_are_whole_in_the_table() -> None:
    """What a figure has to shorten or leave out, the page shows in full."""
    text = Reader(render(HARD["hostile names"], {})).text
    assert all(name in text for name in HOSTILE)

"""Rules that every figure keeps, and those of each."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import matplotlib
import numpy as np
import pytest
from evaluations import HOSTILE, evaluation, hard_ones, multilabel, renamed
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.text import Text
from PIL import Image

from mlflow_pt_eval import figures
from mlflow_pt_eval.errors import BadInput
from mlflow_pt_eval.figures import labels, tint
from mlflow_pt_eval.figures.captions import class_captions, label_captions
from mlflow_pt_eval.figures.cell_numbers import RIGHTS
from mlflow_pt_eval.figures.cells import CellText
from mlflow_pt_eval.figures.comparison import SHOWN
from mlflow_pt_eval.figures.confusion_pairs import most_confused
from mlflow_pt_eval.figures.labels import describe, display_names, some_names
from mlflow_pt_eval.figures.magnifier import corner_size
from mlflow_pt_eval.figures.pixels import Shades, shades_of
from mlflow_pt_eval.figures.style import lettering, sheet, widest
from mlflow_pt_eval.figures.thinning import as_steps, thin_envelope
from mlflow_pt_eval.metrics import Evaluation, auc_band
from mlflow_pt_eval.metrics.result import Curves, RocCurve
from mlflow_pt_eval.metrics.thinning import thin_monotone

Draw = Callable[[Evaluation, "Axes | None"], Figure]

DRAWN: Mapping[str, Draw] = {
    "confusion_matrix": lambda e, ax: figures.confusion_matrix(e, ax=ax),
    "confusion_matrix normalized": lambda e, ax: figures.confusion_matrix(e, normalize=True, ax=ax),
    "roc_curve": lambda e, ax: figures.roc_curve(e, ax=ax),
    "precision_recall_curve": lambda e, ax: figures.precision_recall_curve(e, ax=ax),
    "calibration_curve": lambda e, ax: figures.calibration_curve(e, ax=ax),
    "roc_overlay": lambda e, ax: figures.roc_overlay({"_a": e, "$b$": e}, ax=ax),
    "metric_comparison": lambda e, ax: figures.metric_comparison({"_a": e, "$b$": e}, ax=ax),
    "image_grid": lambda e, ax: figures.image_grid(
        [e.confusion.reshape(-1, 1)[:1].repeat(64).reshape(8, 8)], ["a\nb"], ax=ax
    ),
}
HARD = hard_ones()
every_figure = pytest.mark.parametrize("draw", DRAWN.values(), ids=DRAWN.keys())


def a_users_style() -> dict[str, Any]:
    """Settings that a user may have, each of which changes what matplotlib draws by default."""
    dark = dict(matplotlib.style.library["dark_background"])
    edges = {f"lines.{dash}_capstyle": "round" for dash in ("solid", "dash")}
    edges |= {f"lines.{dash}_joinstyle": "bevel" for dash in ("solid", "dash")}
    edges |= {f"{what}.antialiased": False for what in ("lines", "patch", "text")}
    rough = {"path.sketch": (1, 100, 2), "lines.linewidth": 5, "markers.fillstyle": "none"}
    rough["path.effects"] = [withStroke(linewidth=4, foreground="w")]  # as in xkcd's style
    more = {"text.usetex": True, "font.size": 22, "font.family": "serif", "axes.grid": True, "lines.marker": "x"}
    more |= {"figure.autolayout": True, "xtick.minor.visible": True, "image.origin": "lower"}
    return {**dark, **edges, **rough, **more}


# --- every figure ----------------------------------------------------------------------------
@every_figure
@pytest.mark.parametrize("hard", HARD.values(), ids=HARD.keys())
def test_a_figure_shows_whatever_an_evaluation_holds(draw: Draw, hard: Evaluation) -> None:
    """No evaluation makes a figure fail or warn, and each is a PNG below 300 kB, at most 900 px wide."""
    figure = draw(hard, None)
    png = figures.png_bytes(figure)
    width, height = Image.open(io.BytesIO(png)).size
    assert isinstance(figure, Figure)
    assert len(png) < 300_000
    assert 480 <= width <= 900
    assert height <= 1600


@every_figure
def test_a_figure_leaves_no_trace(draw: Draw) -> None:
    """Drawing changes no setting, opens and closes no pyplot figure, and draws no random number."""
    mine = pyplot.figure()
    try:
        settings_before, random_before = dict(matplotlib.rcParams), np.random.get_state()[1].tolist()  # noqa: NPY002
        figures.png_bytes(draw(HARD["binary"], None))
        assert dict(matplotlib.rcParams) == settings_before
        assert pyplot.get_fignums() == [mine.number]
        assert np.random.get_state()[1].tolist() == random_before  # noqa: NPY002
    finally:
        pyplot.close(mine)


@every_figure
@pytest.mark.parametrize("name", ["hostile names", "multilabel", "absent classes"])
def test_a_figure_is_drawn_into_given_axes(draw: Draw, name: str) -> None:
    """With *ax* the figure returned is that of the axes, and nothing else in it is touched."""
    figure = Figure(figsize=(12, 6))
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    assert draw(HARD[name], left) is figure
    figures.png_bytes(figure)
    assert figure.axes == [left, right]
    assert not figure.texts
    assert not right.has_data()


def test_a_figure_in_a_subfigure_returns_the_whole() -> None:
    """Axes of a subfigure lead to the figure that can be saved."""
    figure = Figure()
    FigureCanvasAgg(figure)
    inner = figure.subfigures(1, 2)[0]
    assert figures.roc_curve(HARD["binary"], ax=inner.subplots()) is figure


@every_figure
@pytest.mark.parametrize("name", ["binary", "hostile names", "multilabel"])
def test_a_figure_is_deaf_to_the_users_style(draw: Draw, name: str) -> None:
    """The same evaluation gives the same bytes, whatever `rcParams` say."""
    plain = figures.png_bytes(draw(HARD[name], None))
    with matplotlib.rc_context(a_users_style()):
        assert figures.png_bytes(draw(HARD[name], None)) == plain


@every_figure
def test_a_notebook_that_trims_a_figure_cuts_no_text(draw: Draw) -> None:
    """`bbox_inches="tight"`, as notebooks save figures, counts every text: what it trims off is blank."""
    figure = draw(HARD["hostile names"], None)
    ink = np.argwhere((figures.rgba(figure)[..., :3] < 128).any(axis=2))
    box = figure.get_tightbbox(figure.canvas.get_renderer())
    height = figure.get_size_inches()[1]
    (top, left), (bottom, right) = ink.min(axis=0) / figure.dpi, (ink.max(axis=0) + 1) / figure.dpi
    assert box.x0 <= left + 0.02
    assert box.x1 >= right - 0.02
    assert height - box.y1 <= top + 0.02
    assert height - box.y0 >= bottom - 0.02


def crowded() -> dict[str, Evaluation]:
    """Evaluations whose texts need all the room that there is: long names, large numbers, few labels, many."""
    long = [f"a golden retriever with a long name {k} dog" for k in range(60)]
    great = evaluation(50, names=long[:50])
    return {
        **HARD,
        **{f"{count} long names": evaluation(count, names=long[:count]) for count in (2, 3, 4, 6, 20, 21, 60)},
        "50 long names, millions": replace(great, confusion=great.confusion * 1_234_567),
        "three labels": multilabel(3),
        "a class of almost all": replace(evaluation(20), confusion=np.diag([99_999] * 20) + 1),
    }


@every_figure
@pytest.mark.parametrize("case", crowded().values(), ids=crowded().keys())
def test_no_text_leaves_the_canvas(draw: Draw, case: Evaluation) -> None:
    """Whatever is written is inside the figure, to the last letter."""
    figure = draw(case, None)
    figure.draw_without_rendering()
    width, height = figure.bbox.size
    written = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text()]
    for text in [*written, *(texts for texts in figure.findobj(CellText) if texts.cells)]:
        box = text.get_window_extent(figure.canvas.get_renderer())
        said = text.get_text() if isinstance(text, Text) else [cell.text for cell in text.cells]
        assert min(box.x0, box.y0) >= 0, said
        assert box.x1 <= width, said
        assert box.y1 <= height, said


# --- bytes -----------------------------------------------------------------------------------
def test_a_png_holds_pixels_only() -> None:
    """No date, no version, no text: nothing that would differ between two machines' files."""
    png = figures.png_bytes(figures.roc_curve(HARD["binary"]))
    chunks, at = set(), 8
    while at < len(png):
        length = int.from_bytes(png[at : at + 4], "big")
        chunks.add(png[at + 4 : at + 8])
        at += 12 + length
    assert chunks == {b"IHDR", b"IDAT", b"IEND"}


def test_pixels_drawn_once_serve_both_forms() -> None:
    """`rgba` is uint8 (H, W, 4), owned, and its PNG is that of the figure."""
    figure = figures.calibration_curve(HARD["binary"])
    pixels = figures.rgba(figure)
    assert (pixels.dtype, pixels.shape, pixels.flags.owndata) == (np.uint8, (676, 900, 4), True)
    assert figures.png_bytes(pixels) == figures.png_bytes(figure)
    decoded = np.asarray(Image.open(io.BytesIO(figures.png_bytes(pixels))))
    assert np.array_equal(decoded, pixels[..., :3])


def test_a_picture_that_only_filters_make_small_keeps_its_colours():
    down, across = np.mgrid[0:700, 0:900]
    pixels = np.stack([down % 256, across % 256, (down + across) % 256, down * 0 + 255], axis=2).astype(np.uint8)
    png = figures.png_bytes(pixels)
    assert len(png) < 300_000
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(png))), pixels[..., :3])


# --- confusion matrix ------------------------------------------------------------------------
@pytest.mark.parametrize("classes", [2, 3, 10, 20, 21, 50, 51, 100, 520, 521, 1000])
@pytest.mark.parametrize("normalize", [False, True])
def test_a_confusion_matrix_fits_at_any_number_of_classes(classes: int, normalize: bool) -> None:
    """From 2 to 1,000 classes the picture keeps its size and its weight."""
    png = figures.png_bytes(figures.confusion_matrix(confused(classes), normalize=normalize))
    assert len(png) < 150_000
    assert Image.open(io.BytesIO(png)).size[0] <= 900


def confused(classes: int) -> Evaluation:
    """Return an evaluation of which only the confusion matrix is looked at."""
    random = np.random.default_rng(0)
    matrix = np.diag(random.integers(1, 50, classes)) + (random.random((classes, classes)) < 0.02)
    names = tuple(f"class {k}" for k in range(classes))
    return replace(HARD["perfect"], confusion=matrix.astype(np.int64), class_names=names)


@given(st.integers(1, 40), st.integers(1, 40), st.data())
@settings(max_examples=60, deadline=None)
def test_no_error_fades_when_a_matrix_is_shrunk(classes: int, size: int, data: st.DataObject) -> None:
    """A lone value is in the block that covers it alone: all of it, or its part of one on the diagonal."""
    true, predicted = (data.draw(st.integers(0, classes - 1)) for _ in range(2))
    matrix = np.zeros((classes, classes), np.int64)
    matrix[true, predicted] = 7
    pixels, correct = tint.pool(matrix, size)
    shown = {(int(row), int(column)) for row, column in np.argwhere(pixels == 7)}
    assert np.array_equal(correct, np.eye(len(pixels), dtype=bool))
    if size >= classes:
        assert shown == {(true, predicted)}
        return
    starts = np.arange(size) * classes // size
    down, across = (2 * int(np.searchsorted(starts, k, side="right") - 1) for k in (true, predicted))
    block = {(down + i, across + j) for i in range(2) for j in range(2)}
    parts = {0: {(down, down), (down + 1, down + 1)}, 1: {(down, down + 1)}, -1: {(down + 1, down)}}
    assert pixels.shape == (2 * size, 2 * size)
    assert shown == (block if down != across else parts[int(np.sign(predicted - true))])


def test_confusions_of_neighbours_are_seen_among_1000_classes() -> None:
    """Each class's errors with the next one show at the side of the diagonal, whatever block both are in."""
    matrix = np.diag(np.full(1000, 5))
    matrix[np.arange(999), np.arange(1, 1000)] = 3
    pixels, _ = tint.pool(matrix, 260)
    first = 2 * np.arange(260)
    assert (pixels[first, first] == 5).all()
    assert (pixels[first + 1, first + 1] == 5).all()
    assert (pixels[first, first + 1] == 3).all()
    assert (pixels[first + 1, first] == 0).all()


@pytest.mark.parametrize(("classes", "most"), [(520, None), (521, 3), (1000, 4), (1100, 5)])
def test_a_figure_says_that_its_squares_are_several_cells(classes: int, most: int | None) -> None:
    """Where classes have no pixels of their own the axis says how many cells a square stands for."""
    said = said_in(figures.confusion_matrix(confused(classes))).splitlines()
    pooled = "" if most is None else f"; each square: the largest of up to {most} × {most} cells"
    assert f"predicted class (index{pooled})" in said


def test_one_error_is_seen_among_a_million() -> None:
    """Errors have a colour of their own, and the rarest cell is not the colour of an empty one."""
    values = np.array([[1_000_000, 1], [0, 1_000_000]])
    colors = tint.paint(values, np.eye(2, dtype=bool), normalize=False, scale=tint.logarithm).astype(int)
    assert tuple(colors[1, 0]) == tint.EMPTY
    assert np.abs(colors[0, 1] - tint.EMPTY).max() > 40
    assert colors[0, 1, 0] > colors[0, 1, 2]
    assert colors[0, 0, 2] > colors[0, 0, 0]


def test_a_class_without_samples_has_no_shares() -> None:
    """In a row of an absent class the shares are not 0 but undefined."""
    matrix = np.array([[3, 1], [0, 0]])
    said = said_in(figures.confusion_matrix(replace(HARD["binary"], confusion=matrix), normalize=True))
    assert said.split("\n").count("75.0 %") == 2
    assert said.split("\n").count("–") == 3


def test_the_most_frequent_confusions_are_named() -> None:
    """Beside a matrix of many classes stand the pairs, most frequent first, ties in the classes' order."""
    matrix = np.diag([90, 90, 90])
    matrix[2, 0], matrix[0, 1], matrix[1, 2] = 5, 8, 5
    assert most_confused(matrix, 2) == [(0, 1, 8), (1, 2, 5)]
    assert most_confused(np.diag([3, 3])) == []


@pytest.mark.parametrize("ramp", ["Blues", "Oranges"])
def test_ink_has_the_higher_contrast_on_every_cell(ramp: str) -> None:
    """White or dark, whichever WCAG's ratio prefers, and it is never below 3.8."""
    for color in tint.ramp(ramp):
        light = 0.05 + float(tint.LUMINANCE @ tint.linear()[color])
        ratios = {"white": 1.05 / light, "#1f2933": light / (tint.DARKEST + 0.05)}
        assert tint.on(color) == max(ratios, key=lambda ink: ratios[ink])
        assert max(ratios.values()) > 3.8


def test_one_wide_number_leaves_the_others_their_size() -> None:
    """Of counts only those that would make all small are compact."""
    matrix = np.full((10, 10), 17)
    matrix[0, 0] = 257_012
    said = said_in(figures.confusion_matrix(replace(evaluation(10), confusion=matrix))).split("\n")
    assert "257k" in said
    assert said.count("17") == 99


def test_the_columns_beside_a_matrix_have_room() -> None:
    """Sizes of five digits and shares just short of 100 % touch neither the matrix nor each other."""
    figure = figures.confusion_matrix(replace(evaluation(10), confusion=np.diag([99_000] * 10) + 3))
    ends = [0.0, *RIGHTS]
    beside = next(texts for texts in figure.findobj(CellText) if any(cell.text == "99,030" for cell in texts.cells))
    for column, text in enumerate(("99,030", ">99.9 %", ">99.9 %")):
        assert ends[column + 1] - widest([text], beside.font.get_size_in_points()) >= ends[column] + 8


@pytest.mark.parametrize(("classes", "size"), [(21, 9.0), (30, 9.0), (40, 7.8), (50, 7.0)])
def test_names_are_as_large_as_their_rows_allow(classes: int, size: float) -> None:
    """From 7 to 9 points, and never higher than a row."""
    figure = figures.confusion_matrix(evaluation(classes, names=[f"species {k}" for k in range(classes)]))
    beside, below = (texts for texts in figure.axes[0].findobj(CellText) if len(texts.cells) == classes)
    assert beside.font.get_size_in_points() == below.font.get_size_in_points() == pytest.approx(size)
    assert widest(["0"], size) < 520 / classes


def test_a_confused_class_is_told_from_every_other() -> None:
    """A cut name that could be another class's, listed or not, has its index, and the pair says both."""
    names = tuple("golden retriever" + " with more words" * 3 + f" {k} dog" for k in range(30))
    matrix = np.diag(np.full(30, 9))
    matrix[29, 0] = 5
    named = figures.confusion_matrix(replace(evaluation(30), confusion=matrix, class_names=names))
    assert "· 29 → 0" in said_in(named)
    short = some_names(names, [9, 29], 80, 9)
    assert all(label.endswith(f"#{k}") for k, label in short.items())
    assert widest(short.values(), 9) <= 80
    assert some_names(["ant", "bee"], [1], 80, 9) == {1: "bee"}


@pytest.mark.parametrize("classes", [30, 60])
def test_names_that_are_indices_are_not_said_twice(classes: int) -> None:
    """Where class 29 is named 29 there is nothing to add."""
    matrix = np.diag(np.full(classes, 9))
    matrix[29, 0] = 5
    said = said_in(figures.confusion_matrix(replace(evaluation(classes), confusion=matrix)))
    assert "29 → 0" in said
    assert "· 29" not in said
    assert "with indices" not in said


@pytest.mark.parametrize(
    "names",
    [
        ["negative (no defect)", "positive (defect)"],
        ["malignant melanoma", "benign naevus", "seborrhoeic keratosis"],
        ["malignant melanoma", "benign naevus", "seborrhoeic keratosis", "squamous cell carcinoma"],
    ],
    ids=len,
)
def test_few_classes_have_room_for_their_names(names: list[str]) -> None:
    """What a wide figure can hold is not cut, at either side."""
    said = said_in(figures.confusion_matrix(evaluation(len(names), names=names))).split("\n")
    assert [said.count(name) for name in names] == [2] * len(names)


@pytest.mark.parametrize("classes", [2, 3, 4, 5, 6, 7, 10])
def test_long_names_leave_the_cells_their_numbers(classes: int) -> None:
    """However long they are: few classes keep count and share in each cell, names below touch no neighbour."""
    names = [f"an extraordinarily long name of a class, the one with number {k}" for k in range(classes)]
    figure = figures.confusion_matrix(evaluation(classes, names=names))
    side = figure.axes[0].get_window_extent().width
    assert side / classes >= (80 if classes <= 6 else 520 / classes - 1)
    _, below = (t for t in figure.axes[0].findobj(CellText) if len(t.cells) == classes and "…" in t.cells[0].text)
    assert below.angle or widest([cell.text for cell in below.cells], 9) < side / classes


@pytest.mark.parametrize("classes", [2, 3, 6, 10])
def test_short_names_leave_a_matrix_its_size(classes: int) -> None:
    """The room that long names may take is the matrix's own where there are none."""
    side = figures.confusion_matrix(evaluation(classes)).axes[0].get_window_extent().width
    assert side == pytest.approx(400 if classes == 2 else 520)


# --- curves ----------------------------------------------------------------------------------
def stairs(values: list[int]) -> np.ndarray:
    """Return an ascending curve over [0, 1] from steps."""
    total = np.concatenate(([0], np.cumsum(values)))
    return total / max(total[-1], 1)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=400), st.integers(2, 50))
@settings(max_examples=100, deadline=None)
def test_a_thinned_roc_curve_is_the_curve(steps: list[tuple[int, int]], cells: int) -> None:
    """Every point left out lies within a cell of a point that is drawn; both ends stay; few points are left."""
    x, y = stairs([a for a, _ in steps]), stairs([b for _, b in steps])
    thin_x, thin_y = thin_monotone(x, y, cells)
    assert (thin_x[0], thin_y[0], thin_x[-1], thin_y[-1]) == (x[0], y[0], x[-1], y[-1])
    assert len(thin_x) <= max(2 * cells, 3 * cells + 4)
    distance = np.maximum(np.abs(x[:, None] - thin_x), np.abs(y[:, None] - thin_y)).min(axis=1)
    assert distance.max() <= 1 / cells + 1e-12


@given(st.lists(st.floats(0, 1), min_size=1, max_size=500), st.integers(2, 30))
@settings(max_examples=100, deadline=None)
def test_a_thinned_precision_curve_keeps_its_range(precision: list[float], cells: int) -> None:
    """In every slice of recall the lowest and the highest precision stay, and so do both ends."""
    y = np.array(precision)
    x = np.linspace(0, 1, len(y))
    thin_x, thin_y = thin_envelope(x, y, cells)
    assert (thin_y[0], thin_y[-1]) == (y[0], y[-1])
    assert (np.diff(thin_x) >= 0).all()
    for low in range(cells):
        inside, drawn = ((v >= low / cells) & (v <= (low + 1) / cells) for v in (x, thin_x))
        if inside.any() and drawn.any():
            assert thin_y[drawn].min() <= y[inside].max()
            assert thin_y[drawn].max() >= y[inside].min()
    assert (y.min(), y.max()) == (thin_y.min(), thin_y.max())


def test_steps_hold_until_the_next_point() -> None:
    """From one recall to the next the precision is the next one's."""
    x, y = as_steps(np.array([0.0, 0.5, 1.0]), np.array([1.0, 0.8, 0.4]))
    assert x.tolist() == [0.0, 0.0, 0.5, 0.5, 1.0]
    assert y.tolist() == [1.0, 0.8, 0.8, 0.4, 0.4]


def said_in(figure: Figure) -> str:
    """Return all the lines that are written into a figure."""
    cells = [cell.text for texts in figure.findobj(CellText) for cell in texts.cells]
    return "\n".join([*cells, *(text.get_text() for text in figure.findobj(Text))])


def test_a_binary_roc_curve_says_its_area_in_words_and_marks_two_thresholds() -> None:
    """The AUC is the evaluation's own, its band is named, and J and F1 stand where the threshold table has them."""
    evaluated = evaluation(2, skill=1.2)
    figure = figures.roc_curve(evaluated)
    said, table = said_in(figure), evaluated.curves.thresholds
    assert table is not None
    auc = evaluated.metrics["roc_auc"]
    assert f"AUC {auc:.4f}: {auc_band(auc)}" in said
    assert f"at threshold {table.threshold[table.youden_index]:.4g}" in said
    assert f"best F1 {table.f1[table.best_f1_index]:.4f}" in said
    *best, in_use = marks_in(figure.axes[0])
    assert set(best) == {(table.fpr[k], table.tpr[k]) for k in (table.youden_index, table.best_f1_index)}
    (tn, fp), (fn, tp) = evaluated.confusion
    assert in_use == (fp / (tn + fp), tp / (tp + fn))
    assert f"in use: above 0.5\nTPR {in_use[1]:.3f}, FPR {in_use[0]:.3f}" in said
    assert in_use[1] == evaluated.metrics["recall"]


def marks_in(axes: Axes) -> list[tuple[float, float]]:
    return [tuple(line.get_xydata()[0]) for line in axes.lines if len(line.get_xdata()) == 1]


def with_points(evaluated: Evaluation, youden: int, best: int) -> Evaluation:
    """Return an evaluation whose two marked thresholds are those rows."""
    table = evaluated.curves.thresholds
    assert table is not None
    moved = replace(table, youden_index=youden, best_f1_index=best)
    return replace(evaluated, curves=replace(evaluated.curves, thresholds=moved))


def test_one_point_has_one_mark() -> None:
    """The best J and the best F1 at one threshold are one entry; apart, neither hides the other."""
    both = figures.roc_curve(with_points(evaluation(2, skill=1.2), 20, 20))
    assert len(marks_in(both.axes[0])) == 2
    assert said_in(both).count("at threshold") == 1
    apart = figures.roc_curve(with_points(evaluation(2, skill=1.2), 20, 21))
    ring, diamond, cross = (line for line in apart.axes[0].lines if len(line.get_xdata()) == 1)
    assert ring.get_markerfacecolor() == "none"
    assert cross.get_marker() == "+"
    assert cross.get_markersize() > ring.get_markersize() > diamond.get_markersize()


def test_a_mark_in_a_corner_is_whole() -> None:
    """A perfect curve's marks stand on the frame, which cuts none of them."""
    axes = figures.roc_curve(evaluation(2, skill=60.0)).axes[0]
    assert set(marks_in(axes)) == {(0.0, 1.0)}
    assert not any(line.get_clip_on() for line in axes.lines if len(line.get_xdata()) == 1)


def test_no_threshold_is_marked_where_none_beats_chance() -> None:
    """A classifier that is worse than chance has no best threshold."""
    figure = figures.roc_curve(evaluation(2, skill=-60.0))
    said = said_in(figure)
    assert "no threshold beats chance" in said
    assert "in use: above 0.5" in said
    assert len(marks_in(figure.axes[0])) == 1


def test_the_macro_average_says_its_band_and_interval() -> None:
    """As the one curve of a binary task does."""
    evaluated = evaluation(5)
    low, high = evaluated.intervals["roc_auc_macro"]
    said = said_in(figures.roc_curve(evaluated)).split("\n")
    assert auc_band(evaluated.metrics["roc_auc_macro"]) in said
    assert f"95 % {low:.4f} to {high:.4f}" in said


def roc(name: str, *corners: tuple[float, float]) -> RocCurve:
    x, y = np.array([(0.0, 0.0), *corners, (1.0, 1.0)]).T
    return RocCurve(name, x, y, np.linspace(1, 0, len(x)), float(np.trapezoid(y, x)))


def test_an_enlargement_covers_no_curve_and_repeats_the_marks() -> None:
    """One that comes into its place, of the bundle as well, is worth more; marked points are in both."""
    good = [roc(str(k), (0.01, 0.9), (0.02, 0.97)) for k in range(11)]
    base = evaluation(12)
    clear = replace(base, curves=Curves(roc=(*good, roc("11", (0.01, 0.95), (0.03, 0.98)))))
    assert len(figures.roc_curve(clear).axes) == 2
    dipping = roc("11", (0.004, 0.6), (0.4, 0.6), (0.4, 1.0), (0.9, 1.0))
    assert len(figures.roc_curve(replace(base, curves=Curves(roc=(*good, dipping)))).axes) == 1
    binary = evaluation(2, samples=2000, skill=3.0)
    marked, enlarged = figures.roc_curve(binary).axes
    assert marks_in(enlarged) == marks_in(marked) != []


def test_classes_without_a_curve_are_counted() -> None:
    """What is absent from the data is not left out silently, whatever the number of classes."""
    for classes, samples in ((8, 5), (60, 25)):
        evaluated = evaluation(classes, samples=samples)
        absent = classes - len(evaluated.curves.roc)
        assert absent > 0
        for draw in (figures.roc_curve, figures.precision_recall_curve):
            assert f"{absent} absent" in said_in(draw(evaluated)).split("\n")


def test_a_perfect_curve_is_not_among_the_lowest() -> None:
    """Of thirty areas of 1 none is the lowest."""
    for draw in (figures.roc_curve, figures.precision_recall_curve):
        said = said_in(draw(evaluation(30, skill=60.0)))
        assert "The lowest" not in said
        assert "all 30 classes" in said


def test_like_baselines_are_one_entry() -> None:
    """Balanced classes have one baseline, others a mark each."""
    curves = evaluation(4).curves
    for shares, entry in (((0.25,) * 4, "about 25 %"), ((0.1, 0.2, 0.3, 0.4), "each curve's baseline,")):
        parts = zip(curves.precision_recall, shares, strict=True)
        changed = tuple(replace(curve, prevalence=share) for curve, share in parts)
        said = said_in(figures.precision_recall_curve(replace(evaluation(4), curves=Curves(precision_recall=changed))))
        assert entry in said


def test_metrics_that_find_no_room_are_counted() -> None:
    """A comparison of many models shows fewer metrics and says where the rest is."""
    keys = len([key for key in SHOWN if key in HARD["binary"].metrics])
    drawn = figures.metric_comparison({f"version {k}": HARD["binary"] for k in range(30)})
    assert f"{keys - said_in(drawn).count('version 29')} more metrics are in comparison.csv" in said_in(drawn)
    assert "more metric" not in said_in(figures.metric_comparison({"one": HARD["binary"]}))


def test_up_to_ten_classes_are_told_apart_and_more_are_a_bundle() -> None:
    """Ten classes have ten entries; eleven have the three lowest, and the bundle says how many it holds."""
    ten, eleven = said_in(figures.roc_curve(evaluation(10))), said_in(figures.roc_curve(evaluation(11)))
    assert "macro average" in ten
    assert "micro average" in ten
    assert all(f"  {k}\n" in ten for k in range(10))
    assert "all 11 classes" in eleven
    assert "The lowest of 11:" in eleven
    lowest = sorted(evaluation(11).curves.roc, key=lambda curve: curve.auc)[:3]
    assert all(f"{curve.auc:.4f}" in eleven for curve in lowest)


def test_hostile_names_stand_in_the_legend_as_they_are() -> None:
    """A leading '_' hides nothing, '$' makes no formula, equal names are told apart, the empty one is given a name."""
    said = said_in(figures.roc_curve(replace(HARD["hostile names"], curves=hostile_curves())))
    for name in ("_hidden", "$x^2$", "class 3", "two lines", r"\alpha", "dup #10", "dup #11"):
        assert f"  {name}\n" in said


def test_a_legend_in_given_axes_hides_nothing_and_sets_no_formula() -> None:
    """What matplotlib's own legend would hide or typeset stands in it as plain text."""
    ax = Figure().subplots()
    FigureCanvasAgg(ax.figure)
    figures.roc_overlay({"_hidden": HARD["binary"], "$x^2$": HARD["binary"]}, ax=ax)
    texts = ax.get_legend().get_texts()
    assert [text.get_text().split("  ")[1] for text in texts] == ["_hidden", "$x^2$"]
    assert not any(text.get_parse_math() or text.get_usetex() for text in texts)


def hostile_curves() -> Curves:
    """Return ten of the hostile names' ROC curves, so that each has an entry."""
    curves = HARD["hostile names"].curves.roc
    return Curves(roc=(*curves[:4], *curves[5:8], curves[9], *curves[10:]))


def test_names_are_short_drawable_and_distinct() -> None:
    """What no typeface here can draw is left out; if nothing remains the class has its index."""
    names = display_names(HOSTILE, 80, 9)
    assert len(set(names)) == len(names)
    assert widest(names, 9) <= 80
    assert names[2] == f"{names[2][0] * (len(names[2]) // 2)}…{'a' * ((len(names[2]) - 1) // 2)}"
    assert (names[3], names[-1]) == ("class 3", f"dup #{len(HOSTILE) - 1}")


UNDRAWABLE = "\U000f1234\U000f1235"  # of a private area, which no typeface has


def test_a_name_of_which_nothing_is_seen_has_its_index() -> None:
    """Joiners, spaces of no width and selectors are no letters; beside letters they stay, since they change those."""
    joined = "\u0645\u06cc\u200c\u062e"  # Persian, where a non-joiner parts the letters
    names = ["\U000f1234\u200d\U000f1235", "\u200b", "a", "a\u200b", "b\ufe0f", "b", joined]
    shown = ["class 0", "class 1", "a #2", "a\u200b #3", "b\ufe0f #4", "b #5", joined]
    assert display_names(names, 200, 9) == shown
    assert list(some_names(names, range(7), 200, 9).values()) == shown


def test_a_cut_name_that_another_looks_like_has_its_index() -> None:
    """Also where the other differs only by what is not seen."""
    names = ["a very long name indeed", "a very long name indeed\u200b"]
    assert [label[-3:] for label in some_names(names, [0, 1], 80, 9).values()] == [" #0", " #1"]


def test_a_name_from_right_to_left_stands_behind_its_number() -> None:
    """A line has the direction of its first letter, and would be turned round as a whole."""
    arabic, three = "قطة", evaluation(3)
    for figure in (figures.roc_curve(renamed(three, [arabic, "b", "c"])), figures.roc_overlay({arabic: three})):
        (line,) = (text for text in said_in(figure).splitlines() if arabic in text)
        number = set_in_a_line(line.split("  ")[0])
        width = number.any(axis=0).nonzero()[0].max() + 1
        assert (set_in_a_line(line)[:, :width] == number[:, :width]).all()


def set_in_a_line(text: str) -> np.ndarray:
    """Return where there is ink of *text*."""
    figure = sheet(40, 300)
    figure.text(0.05, 0.3, text, **lettering(12))
    return (figures.rgba(figure)[..., :3] < 255).any(axis=2)


@pytest.mark.parametrize("draw", [figures.roc_curve, figures.precision_recall_curve])
def test_a_binary_class_that_cannot_be_drawn_is_called_by_its_index(draw: Callable[[Evaluation], Figure]) -> None:
    """As it is in every other figure."""
    said = said_in(draw(evaluation(2, names=["no", UNDRAWABLE])))
    assert "of “class 1”" in said.splitlines()


def test_small_print_has_no_empty_parts() -> None:
    """A data set of whose name nothing can be drawn is left out, and one sample is not 'samples'."""
    nameless = replace(HARD["one sample"], dataset_name=UNDRAWABLE)
    assert describe(nameless) == "models:/digits/3 · test split · 1 sample"
    assert describe(replace(nameless, n_samples=1200), model=False) == "test split · 1,200 samples"


def test_the_first_name_that_cannot_be_drawn_is_warned_of(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Once in a process, with what to install; a name without characters needs no typeface."""
    monkeypatch.setattr(labels, "_told", [])
    with caplog.at_level("WARNING", "mlflow_pt_eval"):
        display_names(["cat", " ", ""], 80, 9)
        assert caplog.records == []
        some_names(["cat", UNDRAWABLE, "dog"], [0, 2], 80, 9)
        assert caplog.records == []
        display_names(["cat", UNDRAWABLE], 80, 9)
        display_names([UNDRAWABLE * 2], 80, 9, word="label")
    (record,) = caplog.records
    assert repr(UNDRAWABLE) in record.getMessage()
    assert "'class 1'" in record.getMessage()
    assert "Noto Sans CJK" in record.getMessage()


def test_labels_are_called_labels_in_every_figure() -> None:
    """A label of whose name nothing can be drawn is no class."""
    three = renamed(multilabel(3), ["a", UNDRAWABLE, "c"])
    for draw in (figures.roc_curve, figures.precision_recall_curve, figures.confusion_matrix):
        said = said_in(draw(three))
        assert "label 1" in said
        assert "class 1" not in said


def test_no_curve_at_all_is_said() -> None:
    """Where no curve is defined the figure says why instead of showing empty axes."""
    for draw in (figures.roc_curve, figures.precision_recall_curve, figures.calibration_curve):
        figure = draw(replace(HARD["binary"], curves=Curves()))
        assert any("defined" in text.get_text() for text in figure.axes[0].texts)


def test_the_corner_is_enlarged_only_where_all_curves_bend_in_it() -> None:
    """The smallest corner that holds every curve's bend is chosen; curves along the axes need none."""
    good, poor = (np.array([0, 0.01, 1]), np.array([0, 0.99, 1])), (np.array([0.0, 1.0]), np.array([0.0, 1.0]))
    assert corner_size([good]) == 0.02
    assert corner_size([good, (np.array([0, 0.04, 1]), np.array([0, 0.96, 1]))]) == 0.1
    assert corner_size([good, poor]) is None
    assert corner_size([(np.array([0, 0, 1]), np.array([0, 1, 1]))]) is None
    assert corner_size([]) is None


def test_nothing_to_compare_is_said() -> None:
    """A comparison of nothing is a figure that says so."""
    for draw in (figures.roc_overlay, figures.metric_comparison):
        figure = draw({})
        assert [text.get_text() for text in figure.axes[0].texts] == ["There is nothing to compare."]


def test_more_than_fits_is_counted() -> None:
    """Of sixty models the overlay lists those that fit and counts the others; the comparison shows fewer metrics."""
    sixty = {f"version {k}": HARD["binary"] for k in range(60)}
    said = said_in(figures.roc_overlay(sixty))
    listed = said.count("  version ")
    assert f"… and {60 - listed} more" in said
    compared = figures.metric_comparison(sixty)
    assert compared.get_size_inches()[1] <= 17
    assert "version 59" in said_in(compared)
    assert len(figures.png_bytes(compared)) < 300_000


def test_a_multilabel_calibration_is_of_the_labels() -> None:
    """There is no predicted class to be confident of: the labels' probabilities are held against their shares."""
    said = said_in(figures.calibration_curve(HARD["multilabel"]))
    assert "labels' probabilities" in said
    assert "confident" not in said


def test_a_label_that_is_nowhere_has_no_shares() -> None:
    """As an absent class has none: 0 % would say that the model finds none of them."""
    whole = multilabel(3)
    absent = replace(whole, confusion=np.array([*whole.confusion[:2], [[300, 0], [0, 0]]]))
    said = said_in(figures.confusion_matrix(absent, normalize=True)).splitlines()
    assert said.count("–") == 2
    assert "100 %" in said


def test_a_large_multilabel_confusion_shows_the_labels_with_the_lowest_f1() -> None:
    """Of 60 labels 20 are shown, and the title says which."""
    figure = figures.confusion_matrix(multilabel(60))
    assert "the 20 of 60 labels with the lowest F1" in figure.texts[0].get_text()


# --- images ----------------------------------------------------------------------------------
def test_images_of_every_layout_are_shown() -> None:
    """Grey and colour, channels first and last, floats, bytes, booleans and normalised values with NaN."""
    random = np.random.default_rng(0)
    normalised = random.normal(size=(3, 32, 32))
    normalised[0, 0, 0] = np.nan
    images = [
        random.random((28, 28)),
        random.random((1, 28, 28)),
        random.integers(0, 256, (32, 32, 3), dtype=np.uint8),
        random.random((4, 300, 200)).astype(np.float32),
        random.random((8, 8)) > 0.5,
        normalised,
    ]
    assert all(figures.is_image(image) for image in images)
    assert len(figures.png_bytes(figures.image_grid(images, ["a\nb\nc\nd", *HOSTILE[:5]]))) < 300_000


def photographs() -> list[np.ndarray]:
    """Return pictures (3, 16, 16) in [0, 1], each of one hue, none with all brightnesses; the last one is flat."""
    hues = np.array([(0.75, 0.15, 0.12), (0.15, 0.45, 0.12), (0.12, 0.12, 0.3), (0.93, 0.93, 0.95), (0.5, 0.5, 0.5)])
    waves = 0.05 * np.sin(np.linspace(0, 9, 256)).reshape(16, 16)
    return [hue[:, None, None] + waves * (hue[0] != 0.5) for hue in hues]


def drawn(images: list[np.ndarray]) -> np.ndarray:
    return figures.rgba(figures.image_grid(images, [""] * len(images))).astype(int)


IMAGENET = np.array([0.485, 0.456, 0.406])[:, None, None], np.array([0.229, 0.224, 0.225])[:, None, None]
CIFAR = np.array([0.4914, 0.4822, 0.4465])[:, None, None], np.array([0.247, 0.2435, 0.2616])[:, None, None]


@pytest.mark.parametrize(
    ("change", "off"),
    [
        (lambda x: (x * 255).round().astype(np.uint8), 1),
        (lambda x: x.astype(np.float32), 1),
        (lambda x: x * 255, 1),
        (lambda x: (x * 255).round().astype(np.int64), 1),
        (lambda x: x * 2 - 1, 1),
        (lambda x: ((x - IMAGENET[0]) / IMAGENET[1]).astype(np.float32), 1),
        (lambda x: (x - CIFAR[0]) / CIFAR[1], 32),
    ],
    ids=["bytes", "float32", "0 to 255", "whole numbers", "-1 to 1", "ImageNet", "CIFAR"],
)
def test_pictures_look_as_before_they_were_normalised(change: Callable[[np.ndarray], np.ndarray], off: int) -> None:
    """Whatever was done to them, hue and brightness of each come back, of a flat one too."""
    assert np.abs(drawn(list(map(change, photographs()))) - drawn(photographs())).max() <= off


def test_other_values_are_stretched_together() -> None:
    """From the smallest to the largest of all pictures: what is darker in the data is darker in the figure."""
    dark, light = np.full((8, 8), 3.0), np.full((8, 8), 9.0)
    light[0, 0], dark[0, 0] = 16.0, 0.0  # as scikit-learn's digits, which are not taken for bytes
    assert [tile[-1, -1] for tile in shown([dark, light])] == [48, 143]
    assert [tile[0, 0] for tile in shown([dark, light])] == [0, 255]


def shown(images: list[np.ndarray]) -> list[np.ndarray]:
    """Return the pixels that grey *images* (H, W) are shown by."""
    planes = [image[..., None] for image in images]
    shades = shades_of(planes)
    return [shades.get(1, Shades()).of(plane)[..., 0] for plane in planes]


def test_values_that_a_resize_overshoots_are_no_other_range() -> None:
    """A hundredth beyond [0, 1] is cut off; the rest stays as it is."""
    overshot = [picture.copy() for picture in photographs()]
    overshot[0][0, 0, 0], overshot[1][0, 0, 0] = 1.02, -0.01
    assert np.array_equal(drawn(overshot), drawn([picture.clip(0, 1) for picture in overshot]))


def test_a_constant_is_grey_and_what_is_not_finite_does_no_harm() -> None:
    """Not black, which would be a value; NaN and infinities count for no range."""
    assert {int(v) for tile in shown([np.full((8, 8), -7.0)] * 2) for v in tile.ravel()} == {128}
    holed = np.linspace(-3, 5, 64).reshape(8, 8)
    whole = shown([holed])[0]
    holed[0, :3] = np.nan, np.inf, -np.inf
    first, low = shown([holed, np.array([[-3.0] * 8] * 8)])
    assert first[0, :3].tolist() == [0, 255, 0]
    assert np.array_equal(first[1:], whole[1:])
    assert (low == 0).all()
    assert (shown([np.full((8, 8), np.nan)])[0] == 0).all()


def test_bytes_and_booleans_stay_among_other_images() -> None:
    """The range of floats beside them is not theirs."""
    half, mask = np.full((8, 8), 100, np.uint8), np.eye(8, dtype=bool)
    tiles = shown([half, mask, np.linspace(-9, 9, 64).reshape(8, 8)])
    assert (tiles[0] == 100).all()
    assert np.array_equal(tiles[1], mask * 255)
    assert (tiles[2].min(), tiles[2].max()) == (0, 255)


def test_a_caption_says_which_class_is_meant() -> None:
    """Names that are cut, that no typeface has or that hold a line's end stay apart, on their own lines."""
    names = ["猫", "two\nlines", "b" * 60 + "1", "b" * 60 + "2"]
    plain = class_captions(["cat", "dog"], [1], [0], [0.48], [2293])
    assert plain == ["said dog, 48 %\nis cat\n# 2293"]
    captions = class_captions(names, [0, 1, 2], [3, 3, 3], [0.5, 0.999, 0.5], [7, 8, 9])
    lines = [caption.split("\n") for caption in captions]
    assert [len(parts) for parts in lines] == [3, 3, 3]
    assert lines[0][0] == "said class 0"
    assert lines[1] == ["said two lines", lines[0][1], "# 8, >99 % sure"]
    assert lines[2][0].removeprefix("said ") != lines[2][1].removeprefix("is ")
    assert label_captions(["cat", "dog"], [[0], []], [[1], [0, 1]], [5, 6]) == [
        "wrong: cat\nmissed: dog\n# 5",
        "missed: cat +1\n# 6",
    ]


@pytest.mark.parametrize("count", [1, 24, 200])
def test_even_noise_stays_below_300_kb(count: int) -> None:
    """Photographs compress worse than charts, noise worst of all; the grid's budget holds for it."""
    noise = np.random.default_rng(0).integers(0, 256, (count, 96, 96, 3), dtype=np.uint8)
    assert len(figures.png_bytes(figures.image_grid(list(noise), ["noise"] * count))) < 300_000


@pytest.mark.parametrize("shape", [(30,), (5, 30, 30), (2, 3, 4, 5), (3, 3), (0, 30)])
def test_what_is_no_image_is_refused(shape: tuple[int, ...]) -> None:
    """A row of features is no picture: the error names the place and the shape."""
    array = np.zeros(shape)
    assert not figures.is_image(array)
    with pytest.raises(BadInput, match=r"image 0 has shape \("):
        figures.image_grid([array], ["x"])


def test_every_image_needs_its_caption() -> None:
    """As many captions as images, or an error that counts both."""
    with pytest.raises(BadInput, match="1 images and 2 captions"):
        figures.image_grid([np.zeros((8, 8))], ["a", "b"])

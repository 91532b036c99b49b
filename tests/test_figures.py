"""Rules that every figure keeps, and those of each."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import matplotlib
import numpy as np
import pytest
from evaluations import HOSTILE, evaluation, hard_ones, multilabel
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
from mlflow_pt_eval.figures import tint
from mlflow_pt_eval.figures.cells import CellText
from mlflow_pt_eval.figures.confusion_pairs import most_confused
from mlflow_pt_eval.figures.labels import display_names
from mlflow_pt_eval.figures.magnifier import corner_size
from mlflow_pt_eval.figures.style import widest
from mlflow_pt_eval.figures.thinning import as_steps, thin_envelope, thin_monotone
from mlflow_pt_eval.metrics import Evaluation, auc_band
from mlflow_pt_eval.metrics.result import Curves

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
    """A lone error off the diagonal blocks keeps its value in the block that covers it, and nothing else appears."""
    size = min(size, classes)
    true, predicted = (data.draw(st.integers(0, classes - 1)) for _ in range(2))
    matrix = np.zeros((classes, classes), np.int64)
    matrix[true, predicted] = 7
    blocks, correct = tint.pool(matrix, size)
    assert blocks.max() == blocks.sum() == 7
    assert correct.any() == (true == predicted)


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
    assert len(thin_x) <= 2 * cells + 4
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
    marks = {tuple(line.get_xydata()[0]) for line in figure.axes[0].lines if len(line.get_xdata()) == 1}
    assert marks == {(table.fpr[k], table.tpr[k]) for k in (table.youden_index, table.best_f1_index)}


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

"""What people see in MLflow's own UI, in a real browser: `pytest -m browser`, where Debian's chromium is installed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import mlflow
import pytest
import torch
from evaluations import HOSTILE, evaluation, multilabel
from torch import nn

import mlflow_pt_eval as mpe
from mlflow_pt_eval.report import render

pytestmark = pytest.mark.browser
CHROMIUM = shutil.which("chromium")
OPTIONS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]


@pytest.fixture(scope="module")
def evaluated(server, tmp_path_factory) -> dict[str, Any]:
    """Two versions of a model on a real server, each evaluated on the same data."""
    before = Path.cwd()
    os.chdir(tmp_path_factory.mktemp("browser"))
    mlflow.set_tracking_uri(server)
    x, y = torch.randn(90, 4, generator=torch.Generator().manual_seed(0)), torch.arange(90) % 3
    runs = []
    for seed in range(2):
        torch.manual_seed(seed)
        net = nn.Linear(4, 3)
        register = mpe.RegisterBest("seen", input_example=x[:2])
        with mpe.TrainingRun({"model": net}, callbacks=[register], experiment_name="browser") as run:
            for _ in run.epochs(1):
                run.log(val_accuracy=0.5)
        uri = f"models:/seen/{run.registered_version}"
        mpe.evaluate(uri, (x, y), class_names=["ant", "bee", "cat"], experiment_name="browser")
        client = mlflow.MlflowClient()
        runs.append(client.get_model_version("seen", str(run.registered_version)).tags["pt_eval.evaluation_run_id"])
    experiment = mlflow.get_experiment_by_name("browser").experiment_id
    os.chdir(before)
    return {"uri": server, "runs": runs, "experiment": experiment}


@pytest.fixture
def page() -> Iterator[Any]:
    """A page of a headless Chromium."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("no chromium here: install Debian's package")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        opened = browser.new_page(viewport={"width": 1500, "height": 1000})
        opened.set_default_timeout(90_000)
        yield opened
        browser.close()


def press(element: Any) -> None:
    """Click on an element, whatever of MLflow's assistant hangs over it."""
    element.wait_for()
    element.scroll_into_view_if_needed()
    element.dispatch_event("click")


def large_images(page: Any) -> list[Any]:
    """The images on the page that are there to be looked at."""
    shown = [image.bounding_box() for image in page.locator("img").all() if image.is_visible()]
    return [box for box in shown if box is not None and box["width"] > 300]


def wait_for_images(page: Any, count: int) -> list[Any]:
    """Wait until so many images are shown."""
    for _ in range(120):
        found = large_images(page)
        if len(found) >= count:
            return found
        page.wait_for_timeout(500)
    return large_images(page)


def open_trainings(page: Any, count: int) -> None:
    """Press the [+] of each training, the lowest first, since its evaluations come in below it."""
    plus = page.locator("button[data-component-id*='runnamecellrenderer']")
    plus.nth(count - 1).wait_for()
    evaluations = page.get_by_role("row").filter(has_text="evaluate seen/")
    for place in reversed(range(count)):
        press(plus.nth(place))
        evaluations.nth(count - 1 - place).wait_for()


@pytest.mark.parametrize("figure", ["confusion_matrix.png", "roc_curve.png"])
def test_the_compare_page_shows_both_figures_side_by_side(page, evaluated, figure):
    """Two runs, their figures at the same height, one beside the other."""
    runs, experiment = quote(str(evaluated["runs"]).replace("'", '"')), quote(f'["{evaluated["experiment"]}"]')
    page.goto(f"{evaluated['uri']}/#/compare-runs?runs={runs}&experiments={experiment}")
    press(page.get_by_text(figure, exact=True))
    left, right = wait_for_images(page, 2)[:2]
    assert abs(left["y"] - right["y"]) < 2
    assert left["x"] + left["width"] <= right["x"]


def test_the_report_is_shown_in_the_artifact_pane(page, evaluated):
    """The page inside MLflow's frame, with what was evaluated on what."""
    page.goto(f"{evaluated['uri']}/#/experiments/{evaluated['experiment']}/runs/{evaluated['runs'][0]}/artifacts")
    press(page.get_by_text("report.html", exact=True))
    frame = page.frame_locator("iframe")
    frame.get_by_role("heading", name="Evaluation of models:/seen/1").wait_for()
    frame.get_by_text("ant", exact=True).first.wait_for()
    assert frame.locator("img").count() >= 5


def test_two_evaluations_are_compared_from_the_list_of_runs(page, evaluated):
    """As the README says: they are under the [+] of their trainings; tick both, press Compare, choose a figure."""
    page.goto(f"{evaluated['uri']}/#/experiments/{evaluated['experiment']}/runs")
    open_trainings(page, 2)
    rows = page.get_by_role("row").filter(has_text="evaluate seen/")
    for place in range(2):
        press(rows.nth(place).get_by_role("checkbox", name="toggle row selection"))
    press(page.get_by_role("button", name="Compare", exact=True))
    press(page.get_by_text("roc_curve.png", exact=True))
    left, right = wait_for_images(page, 2)[:2]
    assert abs(left["y"] - right["y"]) < 2


def test_the_chart_view_has_image_panels(page, evaluated):
    """The same figures by `log_image`, which the chart view sets side by side once the trainings' [+] are open."""
    page.goto(f"{evaluated['uri']}/#/experiments/{evaluated['experiment']}/runs?compareRunsMode=CHART")
    open_trainings(page, 2)
    page.get_by_placeholder("Search metric charts").fill("confusion_matrix")  # the other panels stand above it
    panel = page.get_by_text("confusion_matrix", exact=True).first
    panel.wait_for()
    assert panel.is_visible()


def test_the_version_page_shows_where_it_came_from_and_how_good_it_is(page, evaluated):
    """MLflow shows no metrics there, so the tags do."""
    page.goto(f"{evaluated['uri']}/#/models/seen/versions/2")
    for tag in ("pt_eval.test_accuracy", "pt_eval.dataset_digest", "pt_eval.epoch", "pt_eval.weights_sha256"):
        shown = page.get_by_text(tag, exact=True)
        shown.wait_for()
        assert shown.is_visible()
    version = mlflow.MlflowClient(evaluated["uri"]).get_model_version("seen", "2")
    assert page.get_by_text(version.tags["pt_eval.test_accuracy"], exact=True).first.is_visible()


def lines_of(page: Any, text: str) -> int:
    """Return on how many lines a cell's text stands."""
    cell = page.get_by_role("cell", name=text, exact=True).first
    return int(
        cell.evaluate(
            "cell => { const range = document.createRange(); range.selectNodeContents(cell);"
            " return new Set([...range.getClientRects()].map(r => Math.round(r.top))).size; }"
        )
    )


@pytest.mark.parametrize("width", [600, 660])
def test_names_of_classes_are_not_broken_in_the_artifact_panes_width(page, tmp_path, width):
    """A word stays whole; a long name is broken, and no table then needs to be scrolled."""
    for words, lines in ((["healthy", "ill"], 1), (["a" * 60, "ill"], 2)):
        path = tmp_path / "report.html"
        path.write_text(render(evaluation(2, names=words), {}, mistakes=[{"label": words[0], "p": 0.5}]))
        page.set_viewport_size({"width": width, "height": 900})
        page.goto(path.as_uri())
        assert min(lines_of(page, words[0]), 2) == lines
        wide = "[...document.querySelectorAll('.scroll')].filter(e => e.scrollWidth > e.clientWidth).length"
        assert page.evaluate(wide) == 0


def test_a_page_is_never_wider_than_its_pane(page, tmp_path):
    """Be it that of a telephone: what is too wide is scrolled inside the page."""
    path = tmp_path / "report.html"
    path.write_text(render(evaluation(12, names=HOSTILE), {}))
    page.set_viewport_size({"width": 320, "height": 700})
    page.goto(path.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") == 320
    assert page.evaluate("Math.max(...[...document.querySelectorAll('dl div')].map(e => e.offsetWidth))") <= 288


def test_the_numbers_on_the_cards_stand_on_one_line(page, tmp_path):
    """However many lines their labels have."""
    path = tmp_path / "report.html"
    path.write_text(render(multilabel(7), {}))
    page.set_viewport_size({"width": 600, "height": 900})
    page.goto(path.as_uri())
    boxes = [number.bounding_box() for number in page.locator(".cards b").all()]
    heights = {round(box["y"] + box["height"]) for box in boxes if box is not None}
    assert len(heights) == 2  # of five cards in two rows

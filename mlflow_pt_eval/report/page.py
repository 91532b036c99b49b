"""The page: what was evaluated on what, the numbers, the figures, the tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mlflow_pt_eval.metrics.result import Evaluation
from mlflow_pt_eval.metrics.tables import HEADLINES, auc_band, task_text
from mlflow_pt_eval.names import direction
from mlflow_pt_eval.report.cells import short
from mlflow_pt_eval.report.document import document, image, section, to_know
from mlflow_pt_eval.report.markup import Markup, tag
from mlflow_pt_eval.report.tables import bands_table, classes_table, metrics_table, mistakes_table, thresholds_table
from mlflow_pt_eval.report.words import IN_FIGURE, figure_title, headline_name, metric_name
from mlflow_pt_eval.wording import score


def render(
    evaluation: Evaluation,
    figures: Mapping[str, bytes],
    *,
    context: Mapping[str, str] | None = None,
    mistakes: Sequence[Mapping[str, object]] = (),
    mistakes_figure: bytes | None = None,
) -> str:
    """Return *evaluation* as a whole HTML page: no network, no script, its styles and images inside.

    *figures* are PNGs by file name, each under a heading, in their order. *context* holds more lines for the header
    ("Run", "When"). *mistakes* are the worst ones, one mapping a row with the first one's keys as columns;
    *mistakes_figure* is their image grid. Values are shown with four decimals, all their digits on hovering. Every
    text is escaped.
    """
    title = f"Evaluation of {evaluation.model_uri or 'a model'}"
    sections = [
        _header(evaluation, title, context or {}),
        to_know(evaluation.warnings),
        _headlines(evaluation),
        section("Metrics", metrics_table(evaluation), _bands(evaluation)),
        *(_figure(evaluation, name, data) for name, data in figures.items()),
        _thresholds(evaluation),
        section("Labels" if evaluation.task == "multilabel" else "Classes", classes_table(evaluation)),
        _mistakes(mistakes, mistakes_figure),
    ]
    return document(title, *sections)


def _header(evaluation: Evaluation, title: str, context: Mapping[str, str]) -> Markup:
    """Say what was evaluated on what; facts that are not known are left out."""
    facts = {
        "Model": evaluation.model_uri,
        "Data set": evaluation.dataset_name,
        "Digest": evaluation.dataset_digest,
        "Split": evaluation.split,
        "Samples": f"{evaluation.n_samples:,}",
        "Task": task_text(evaluation),
        **context,
    }
    lines = [tag("div", tag("dt", key), tag("dd", value)) for key, value in facts.items() if value]
    return tag("header", tag("h1", title), tag("dl", *lines))


def _headlines(evaluation: Evaluation) -> Markup:
    keys = [key for key in HEADLINES if key in evaluation.metrics]
    return tag("div", *(_card(evaluation, key) for key in keys), class_="cards")


def _card(evaluation: Evaluation, key: str) -> Markup:
    value, below = evaluation.metrics[key], "lower is better" if direction(key) == "min" else ""
    if key in evaluation.intervals:
        below = "{} – {}".format(*map(score, evaluation.intervals[key]))
    name = tag("span", headline_name(key, evaluation.task))
    return tag("div", name, tag("b", short(value), title=repr(value)), tag("small", below))


def _auc(evaluation: Evaluation) -> float | None:
    return evaluation.metrics.get("roc_auc", evaluation.metrics.get("roc_auc_macro"))


def _bands(evaluation: Evaluation) -> Markup:
    auc = _auc(evaluation)
    if auc is None:
        return Markup("")
    word = auc_band(auc)
    said = f"An AUC of {score(auc)} is called {word}: a rule of thumb; how much is enough depends on the use."
    return tag("details", tag("summary", "ROC AUC in words: ", tag("b", word)), tag("p", said), bands_table(auc))


def _figure(evaluation: Evaluation, name: str, data: bytes) -> Markup:
    title = figure_title(name, evaluation.task)
    said = [
        f"{metric_name(k)} {short(evaluation.metrics[k])}" for k in IN_FIGURE.get(name, ()) if k in evaluation.metrics
    ]
    return section(title, image(", ".join([title, *said[:1]]), data))


def _thresholds(evaluation: Evaluation) -> Markup:
    thresholds = evaluation.curves.thresholds
    if thresholds is None or not len(thresholds.threshold):
        return Markup("")
    said = (
        "A sample counts as positive if its score reaches the threshold. "
        "The predictions on this page are those of the row in use: positive above 0.5."
    )
    return section("Thresholds", tag("p", said, class_="hint"), thresholds_table(thresholds, evaluation))


def _mistakes(mistakes: Sequence[Mapping[str, object]], figure: bytes | None) -> Markup:
    if not mistakes and figure is None:
        return Markup("")
    grid = Markup("") if figure is None else image("The worst mistakes", figure)
    said = "Those with the highest loss: wrong, and sure of it. Look at them: it may be the label that is wrong."
    rows = mistakes_table(mistakes) if mistakes else Markup("")
    return section("Worst mistakes", tag("p", said, class_="hint"), grid, rows)

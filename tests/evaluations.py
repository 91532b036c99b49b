"""Evaluations to draw and to print: seeded scores of any number of classes, and those that are hard to show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from mlflow_pt_eval.metrics import Evaluation, evaluate_scores

HOSTILE = [
    "$x^2$",
    "_hidden",
    "a" * 300,
    "",
    "猫",
    "ünï çødé",
    r"\alpha",
    "two\nlines",
    "<b>&amp;</b>",
    "%s {0}",
    "dup",
    "dup",
]


def evaluation(
    classes: int, *, samples: int = 400, names: Sequence[str] | None = None, skill: float = 3.0
) -> Evaluation:
    """Return a binary (2 classes) or multiclass evaluation of random scores that are right rather often."""
    random = np.random.default_rng(0)
    labels = random.integers(0, classes, samples)
    logits = random.normal(size=(samples, classes))
    logits[np.arange(samples), labels] += skill
    scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    task: Any = "binary" if classes == 2 else "multiclass"
    evaluated = described(evaluate_scores(labels, scores, task=task, micro=classes < 50, bootstrap=100))
    return evaluated if names is None else renamed(evaluated, names)


def renamed(evaluated: Evaluation, names: Sequence[str]) -> Evaluation:
    """Name the classes afterwards: stored evaluations may hold names that are refused today."""

    def named(parts: Sequence[Any]) -> Any:
        return tuple(replace(part, name=names[int(part.name)]) for part in parts)

    curves = evaluated.curves
    curves = replace(curves, roc=named(curves.roc), precision_recall=named(curves.precision_recall))
    return replace(evaluated, class_names=tuple(names), per_class=named(evaluated.per_class), curves=curves)


def multilabel(labels: int, *, samples: int = 300) -> Evaluation:
    """Return a multilabel evaluation, the first label the rarest."""
    random = np.random.default_rng(0)
    truth = random.random((samples, labels)) < np.linspace(0.1, 0.5, labels)
    scores = np.clip(random.normal(0.35 + 0.3 * truth, 0.2), 0, 1)
    return described(evaluate_scores(truth.astype(np.int64), scores, task="multilabel", bootstrap=100))


def described(evaluated: Evaluation) -> Evaluation:
    """Say what was evaluated on what."""
    known = {"model_uri": "models:/digits/3", "dataset_name": "digits", "dataset_digest": "0123456789abcdef" * 2}
    return replace(evaluated, **known)


def hard_ones() -> dict[str, Evaluation]:
    """Return evaluations by what is hard about them."""
    one_class = evaluate_scores([0, 0, 0], np.full((3, 3), 1 / 3), task="multiclass", bootstrap=0)
    return {
        "binary": evaluation(2),
        "perfect": evaluation(3, skill=60.0),
        "wrong": evaluation(4, skill=-60.0),
        "one sample": evaluation(2, samples=1),
        "one class only": one_class,
        "hostile names": evaluation(len(HOSTILE), names=HOSTILE),
        "hostile binary": evaluation(2, names=HOSTILE[:2]),
        "absent classes": evaluation(30, samples=12),
        "one label": multilabel(1),
        "multilabel": multilabel(7),
        "many labels": multilabel(60),
        "huge counts": replace(evaluation(20), confusion=np.full((20, 20), 123_456_789)),
        "one class": replace(
            one_class, class_names=("a",), confusion=np.array([[3]]), per_class=one_class.per_class[:1]
        ),
        "no samples counted": replace(evaluation(3), confusion=np.zeros((3, 3), np.int64)),
    }

"""What the page says about each metric and each figure, in words that need no textbook."""

from __future__ import annotations

from typing import Final

from mlflow_pt_eval import names
from mlflow_pt_eval.names import Task

METRICS: Final = {
    "accuracy": "share of samples that are predicted right",
    "balanced_accuracy": "mean of the classes' recalls: every class counts the same",
    "precision": "of what is called positive, the share that is",
    "recall": "of what is positive, the share that is found",
    "f1": "harmonic mean of precision and recall",
    "precision_macro": "mean of the classes' precisions",
    "precision_weighted": "mean of the classes' precisions, weighted by their size",
    "recall_macro": "mean of the classes' recalls",
    "recall_weighted": "mean of the classes' recalls, weighted by their size",
    "f1_macro": "mean of the classes' F1: every class counts the same",
    "f1_weighted": "mean of the classes' F1, weighted by their size",
    "roc_auc": "chance that a positive sample gets a higher score than a negative one",
    "roc_auc_macro": "mean of the classes' AUC, each against the rest",
    "roc_auc_weighted": "mean of the classes' AUC, weighted by their size",
    "average_precision": "mean precision over the recalls",
    "average_precision_macro": "mean of the classes' average precisions",
    "log_loss": "mean of -log(probability given to the true class)",
    "brier_score": "mean squared error of the probabilities",
    "matthews_corrcoef": "correlation of truth and prediction, from -1 to 1",
    "cohen_kappa": "agreement beyond chance; 1 is perfect, 0 is chance",
    "expected_calibration_error": "mean gap between confidence and accuracy, 15 bins",
    "top_5_accuracy": "share of samples whose class is among the five likeliest",
    "loss": "mean of the given criterion over the samples",
}

# The same where a sample has several labels: each label of each sample, given or not, is a decision.
MULTILABEL: Final = {
    "accuracy": "share of samples of which every label is right: with one wrong label the sample is wrong",
    "hamming_loss": "share of the decisions, one for each sample and label, that are wrong",
    "precision_macro": "mean of the labels' precisions",
    "precision_weighted": "mean of the labels' precisions, weighted by how often they are true",
    "recall_macro": "mean of the labels' recalls",
    "recall_weighted": "mean of the labels' recalls, weighted by how often they are true",
    "f1_macro": "mean of the labels' F1: every label counts the same",
    "f1_weighted": "mean of the labels' F1, weighted by how often they are true",
    "precision_micro": "of the labels that are given to any sample, the share that is true",
    "recall_micro": "of the labels that are true of any sample, the share that is given",
    "f1_micro": "harmonic mean of micro precision and recall: frequent labels count more",
    "f1_samples": "mean of the samples' F1: every sample counts the same",
    "roc_auc_macro": "mean of the labels' AUC",
    "roc_auc_weighted": "mean of the labels' AUC, weighted by how often they are true",
    "average_precision_macro": "mean of the labels' average precisions",
    "log_loss": "mean of -log(probability given to what is true) over the decisions",
    "brier_score": "mean squared error of the probabilities",
    "expected_calibration_error": "mean gap between a score and how often the label is true, 15 bins",
    "loss": "mean of the given criterion over the samples",
}

FIGURES: Final = {
    names.CONFUSION_PNG: "Confusion matrix",
    names.CONFUSION_NORMALIZED_PNG: "Confusion matrix, in per cent of each true class",
    names.ROC_PNG: "ROC curve",
    names.PRECISION_RECALL_PNG: "Precision-recall curve",
    names.CALIBRATION_PNG: "Calibration",
}

# The same where a sample has several labels: each has a matrix of its own.
FIGURES_BY_LABEL: Final = {
    names.CONFUSION_PNG: "Confusion by label",
    names.CONFUSION_NORMALIZED_PNG: "Confusion by label, in per cent of each row",
}

# The metrics of which a figure says most, the first that there is: for those who do not see it.
IN_FIGURE: Final = {
    names.CONFUSION_PNG: ("accuracy",),
    names.CONFUSION_NORMALIZED_PNG: ("balanced_accuracy", "recall_macro"),
    names.ROC_PNG: ("roc_auc", "roc_auc_macro"),
    names.PRECISION_RECALL_PNG: ("average_precision", "average_precision_macro"),
    names.CALIBRATION_PNG: ("expected_calibration_error",),
}

SPELLED: Final = {"f1": "F1", "roc": "ROC", "auc": "AUC", "matthews": "Matthews", "cohen": "Cohen's", "brier": "Brier"}


def meaning(key: str, task: Task) -> str:
    """Return what a metric says in words, '' of one that is not an evaluation's own."""
    return (MULTILABEL if task == "multilabel" else METRICS).get(key, "")


def figure_title(name: str, task: Task) -> str:
    """Return a figure's heading, the file's name of one that is not an evaluation's own.

    >>> figure_title("confusion_matrix.png", "multilabel"), figure_title("mine.png", "binary")
    ('Confusion by label', 'mine.png')
    """
    own = FIGURES_BY_LABEL.get(name) if task == "multilabel" else None
    return own or FIGURES.get(name, name)


def headline_name(key: str, task: Task) -> str:
    """Return a metric's name where no words stand beside it, with what would mislead without them.

    >>> headline_name("accuracy", "multilabel"), headline_name("accuracy", "binary")
    ('Accuracy, all labels right', 'Accuracy')
    """
    strict = key == "accuracy" and task == "multilabel"
    return "Accuracy, all labels right" if strict else metric_name(key)


def metric_name(key: str) -> str:
    """Return a metric's key as words.

    >>> metric_name("roc_auc_macro"), metric_name("f1"), metric_name("top_5_accuracy")
    ('ROC AUC macro', 'F1', 'Top 5 accuracy')
    """
    words = " ".join(SPELLED.get(word, word) for word in key.split("_"))
    return words[:1].upper() + words[1:]

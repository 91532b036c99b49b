"""What the page says about each metric and each figure, in words that need no textbook."""

from __future__ import annotations

from typing import Final

from mlflow_pt_eval import names

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
    "hamming_loss": "share of labels that are predicted wrong",
    "loss": "mean of the given criterion over the samples",
}

FIGURES: Final = {
    names.CONFUSION_PNG: "Confusion matrix",
    names.CONFUSION_NORMALIZED_PNG: "Confusion matrix, each row in per cent",
    names.ROC_PNG: "ROC curve",
    names.PRECISION_RECALL_PNG: "Precision-recall curve",
    names.CALIBRATION_PNG: "Calibration",
}

HEADLINES: Final = (
    "accuracy",
    "balanced_accuracy",
    "f1",
    "f1_macro",
    "roc_auc",
    "roc_auc_macro",
    "expected_calibration_error",
)

SPELLED: Final = {"f1": "F1", "roc": "ROC", "auc": "AUC", "matthews": "Matthews", "cohen": "Cohen's", "brier": "Brier"}


def metric_name(key: str) -> str:
    """Return a metric's key as words.

    >>> metric_name("roc_auc_macro"), metric_name("f1"), metric_name("top_5_accuracy")
    ('ROC AUC macro', 'F1', 'Top 5 accuracy')
    """
    words = " ".join(SPELLED.get(word, word) for word in key.split("_"))
    return words[:1].upper() + words[1:]

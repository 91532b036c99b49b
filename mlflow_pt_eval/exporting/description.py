"""What a registration says of a model, held against what the model gives for its example."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final

import torch

from mlflow_pt_eval.errors import BadInput
from mlflow_pt_eval.names import Outputs

_ABOVE: Final = 1e-6  # as far as rounding takes a probability above 1
_SUM: Final = 1e-3  # as far as it takes a row's sum from 1
_log = logging.getLogger("mlflow_pt_eval")


def check_description(scores: torch.Tensor, outputs: Outputs, class_names: Sequence[str] | None) -> None:
    """Refuse what the *scores* of the example, (N, K) or one logit a sample, show to be wrong.

    Logits that all are probabilities are warned of. Errors: BadInput for another number of names than of outputs (two
    for one logit), and for probabilities that are outside [0, 1].
    """
    columns = 1 if scores.ndim < 2 else scores.shape[1]
    expected = 2 if columns == 1 else columns
    if class_names is not None and len(class_names) != expected:
        has = "one output, which is of two classes" if columns == 1 else f"{columns} outputs"
        raise BadInput(f"class_names has {len(class_names)} entries, but the model has {has}: give {expected}.")
    outside = (scores < 0) | (scores > 1 + _ABOVE)
    if outputs == "probabilities" and outside.any():
        value = float(scores[outside][0])
        raise BadInput(
            f"outputs='probabilities', but the model gives {value:g} for the example: a probability is in [0, 1]; "
            "for logits, give outputs='logits'."
        )
    if outputs == "logits" and columns > 1 and not outside.any() and _add_up_to_one(scores):
        _log.warning(
            "The model's outputs for the example are all probabilities, but are registered as logits, so that an "
            "evaluation applies a softmax once more; if they are probabilities, give outputs='probabilities'."
        )


def _add_up_to_one(scores: torch.Tensor) -> bool:
    rounding = torch.finfo(scores.dtype).eps if scores.is_floating_point() else 0.0
    return bool(((scores.double().sum(1) - 1).abs() <= max(_SUM, rounding)).all())

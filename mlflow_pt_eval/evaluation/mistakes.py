"""The worst mistakes: the samples that the model is wrong about and sure of."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from mlflow_pt_eval.data import Data
from mlflow_pt_eval.errors import first_line
from mlflow_pt_eval.figures import image_grid, is_image, png_bytes
from mlflow_pt_eval.figures.captions import class_captions, label_captions
from mlflow_pt_eval.figures.labels import describe
from mlflow_pt_eval.metrics import Evaluation
from mlflow_pt_eval.names import MISTAKES_CSV, MISTAKES_PNG
from mlflow_pt_eval.predict import Predictions

SHOWN: Final = 24
ORDER: Final = "highest loss first"
_THRESHOLD = 0.5  # of a multilabel score
_COLUMNS = ("index", "label", "prediction", "probability", "loss")
_SUREST = "certainty of the surest error"
_LABELS_COLUMNS = ("index", "missed", "wrongly given", _SUREST, "loss")
_log = logging.getLogger("mlflow_pt_eval")


@dataclass(frozen=True, eq=False)
class Mistakes:
    """The worst first: a table's *rows*, and a PNG *grid* of the samples where they look like images.

    A class's row says what is true and what was predicted; a multilabel one only which labels are wrong, since it may
    have dozens that are right, and how certain the surest of the wrong decisions is: the score of a label wrongly
    given, 1 less that of one missed. *columns* are the rows' keys.
    """

    rows: tuple[Mapping[str, Any], ...]
    grid: bytes | None = None
    columns: tuple[str, ...] = _COLUMNS

    def write(self, folder: Path) -> None:
        """Write the table, which may be empty, and the grid."""
        pd.DataFrame(list(self.rows), columns=list(self.columns)).to_csv(folder / MISTAKES_CSV, index=False)
        if self.grid is not None:
            (folder / MISTAKES_PNG).write_bytes(self.grid)

    @classmethod
    def read(cls, folder: Path) -> Mistakes:
        """Read what `write` wrote; nothing where it wrote nothing."""
        table, grid = folder / MISTAKES_CSV, folder / MISTAKES_PNG
        picture = grid.read_bytes() if grid.is_file() else None
        if not table.is_file():
            return cls((), picture)
        text = dict.fromkeys(("label", "prediction", "missed", "wrongly given"), str)
        frame = pd.read_csv(table, dtype=text, keep_default_na=False)
        rows = ({str(key): value for key, value in row.items()} for row in frame.to_dict("records"))
        return cls(tuple(rows), picture, tuple(map(str, frame.columns)))


def worst_mistakes(
    found: Predictions, names: Sequence[str], data: Data, evaluation: Evaluation | None = None
) -> Mistakes:
    """Return the wrong predictions with the highest log loss, at most 24; *data* gives the samples once more.

    The picture's small print says what *evaluation* was of.
    """
    several = found.task == "multilabel"
    wrong = _wrong(found)
    losses = _losses(found, wrong)
    order = np.argsort(-losses, kind="stable")[:SHOWN]
    indices = [int(index) for index in wrong[order]]
    row = _multilabel_row if several else _class_row
    rows = tuple(
        {"index": index, **row(found, names, index), "loss": float(loss)}
        for index, loss in zip(indices, losses[order], strict=True)
    )
    images = _images(data, indices, len(found.labels))
    grid = _grid(images, found, names, indices, evaluation) if images else None
    return Mistakes(rows, grid, _LABELS_COLUMNS if several else _COLUMNS)


def _grid(
    images: Sequence[npt.NDArray[Any]],
    found: Predictions,
    names: Sequence[str],
    indices: Sequence[int],
    evaluation: Evaluation | None,
) -> bytes:
    said = [ORDER] if evaluation is None else [describe(evaluation), ORDER]
    return png_bytes(image_grid(images, _captions(found, names, indices), subtitle=" · ".join(said)))


def _captions(found: Predictions, names: Sequence[str], indices: Sequence[int]) -> list[str]:
    scores, labels = found.scores[indices], found.labels[indices]
    if found.task == "multilabel":
        given = scores > _THRESHOLD
        return label_captions(names, _places(given & (labels == 0)), _places(~given & (labels == 1)), indices)
    guesses = scores.argmax(axis=1)
    shares = np.take_along_axis(scores, guesses[:, None], axis=1)[:, 0]
    return class_captions(names, guesses.tolist(), labels.tolist(), shares.tolist(), indices)


def _places(marks: npt.NDArray[np.bool_]) -> list[list[int]]:
    return [np.flatnonzero(row).tolist() for row in marks]


def _wrong(found: Predictions) -> npt.NDArray[np.int64]:
    if found.task == "multilabel":
        return np.flatnonzero(((found.scores > _THRESHOLD) != found.labels).any(axis=1))
    return np.flatnonzero(found.scores.argmax(axis=1) != found.labels)


def _losses(found: Predictions, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    scores, labels = found.scores[rows].astype(np.float64), found.labels[rows]
    if found.task == "multilabel":
        right = np.where(labels == 1, scores, 1 - scores)
    else:
        right = np.take_along_axis(scores, labels[:, None], axis=1)
    # The smallest float32 above 0 instead of 0, so that the order among the surest stays that of the data.
    losses: npt.NDArray[np.float64] = -np.log(np.maximum(right, np.finfo(np.float32).tiny)).mean(axis=1)
    return losses


def _class_row(found: Predictions, names: Sequence[str], index: int) -> dict[str, Any]:
    scores, label = found.scores[index], int(found.labels[index])
    guess = int(scores.argmax())
    return {"label": names[label], "prediction": names[guess], "probability": float(scores[guess])}


def _multilabel_row(found: Predictions, names: Sequence[str], index: int) -> dict[str, Any]:
    scores, present = found.scores[index], found.labels[index] == 1
    guess = scores > _THRESHOLD
    surest = np.where(guess, scores, 1 - scores)[guess != present].max()
    missed, wrongly = _joined(names, present & ~guess), _joined(names, guess & ~present)
    return {"missed": missed, "wrongly given": wrongly, _SUREST: float(surest)}


def _joined(names: Sequence[str], marks: npt.NDArray[Any]) -> str:
    return ", ".join(names[int(place)] for place in np.flatnonzero(marks)) or "none"


def _images(data: Data, indices: Sequence[int], n_found: int) -> tuple[npt.NDArray[Any], ...]:
    """Return the samples if they look like images; a picture is not worth an evaluation, so that none may fail it."""
    try:
        as_numbered = data.n_samples == n_found  # else samples were left out, and the numbers are of others
        samples = data.samples(indices) if indices and as_numbered else None
        if samples is None or any(sample.is_floating_point() and sample.itemsize < 4 for sample in samples):
            return ()
        arrays = tuple(sample.detach().cpu().numpy() for sample in samples)
    except Exception as error:  # whatever the user's data set or collate function raises for one sample alone
        _log.warning(
            "there is no picture of the worst mistakes, since they could not be read again: %s", first_line(error)
        )
        return ()
    return arrays if all(is_image(array) for array in arrays) else ()

"""What stands below the images of mistakes: what was said, what is true, and where the sample is."""

from __future__ import annotations

from collections.abc import Sequence

from mlflow_pt_eval.figures.grid import LETTERS, ROOM
from mlflow_pt_eval.figures.labels import CUT, some_names
from mlflow_pt_eval.figures.style import widest
from mlflow_pt_eval.wording import percent


def class_captions(
    names: Sequence[str], said: Sequence[int], true: Sequence[int], probabilities: Sequence[float], at: Sequence[int]
) -> list[str]:
    """Return the captions of wrongly classified samples: classes *said* with their *probabilities*, *true* classes.

    *names* are all classes', so that a name that has to be cut is told from every other; *at* are the samples' indices.
    """
    shares, concerned = [f", {percent(share, 0)} %" for share in probabilities], sorted({*said, *true})
    shown = some_names(names, concerned, _room(["said ", *shares]), LETTERS)
    cut = any(CUT in label for label in shown.values())
    if cut:  # the shares stand on the last line instead, and leave the names more room
        shown = some_names(names, concerned, _room(["said "]), LETTERS)
    rows = zip(said, [("", f"{share} sure") if cut else (share, "") for share in shares], true, at, strict=True)
    return [
        f"said {shown[guess]}{beside}\nis {shown[label]}\n# {index}{below}"
        for guess, (beside, below), label, index in rows
    ]


def label_captions(
    names: Sequence[str], wrong: Sequence[Sequence[int]], missed: Sequence[Sequence[int]], at: Sequence[int]
) -> list[str]:
    """Return the captions of samples with *wrong* labels, given to them though absent, and *missed* ones."""
    concerned = sorted({k for labels in (*wrong, *missed) for k in labels})
    shown = some_names(names, concerned, _room(["missed: ", " +99"]), LETTERS, word="label")
    captions = []
    for given, left_out, index in zip(wrong, missed, at, strict=True):
        lines = [f"wrong: {_first(given, shown)}"] if given else []
        lines += [f"missed: {_first(left_out, shown)}"] if left_out else []
        captions.append("\n".join([*lines, f"# {index}"]))
    return captions


def _room(beside: Sequence[str]) -> float:
    """Return the px that a name may need on a line that holds the first of *beside* and one of the others as well."""
    return ROOM - widest(beside[:1], LETTERS) - widest(beside[1:], LETTERS)


def _first(labels: Sequence[int], shown: dict[int, str]) -> str:
    return shown[labels[0]] + (f" +{len(labels) - 1}" if len(labels) > 1 else "")

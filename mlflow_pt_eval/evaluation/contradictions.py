"""What a caller says of a model otherwise than its registration did."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from mlflow_pt_eval.class_names import check_class_names, is_list
from mlflow_pt_eval.errors import BadInput
from mlflow_pt_eval.evaluation.subject import Subject
from mlflow_pt_eval.wording import listed

if TYPE_CHECKING:
    from mlflow_pt_eval.evaluation.work import Request

NAMED = 10  # class names that a line holds


def contradictions(subject: Subject, request: Request) -> tuple[str, ...]:
    """Return a line for each thing that *request* says otherwise than was recorded: the caller's word is taken.

    Errors: BadInput for the recorded class names in another order, by which every class would be taken for another.
    """
    return (*_of_outputs(subject, request), *_of_names(subject, request))


def _of_outputs(subject: Subject, request: Request) -> Iterator[str]:
    if subject.outputs is not None and request.outputs not in ("auto", subject.outputs):
        yield (
            f"the model was registered with outputs={subject.outputs!r}, but its outputs were taken as "
            f"{request.outputs}, as outputs= says"
        )


def _of_names(subject: Subject, request: Request) -> Iterator[str]:
    recorded = subject.class_names
    given = request.class_names if request.class_names is not None else request.classes
    if recorded is None or given is None or not is_list(given):
        return
    texts = tuple(map(str, given))
    if texts == recorded:
        return
    if sorted(texts) == sorted(recorded):
        what = "classes" if request.class_names is None else "class_names"
        raise BadInput(
            f"{what} gives {listed(texts, NAMED)}, but the model was registered with the same names in the order "
            f"{listed(recorded, NAMED)}: leave it out, or give that order, which is that of the model's outputs."
        )
    if request.class_names is not None:
        yield (
            f"the model was registered with the class names {listed(recorded, NAMED)}, but class_names= gives others: "
            f"{listed(check_class_names(texts), NAMED)}"
        )

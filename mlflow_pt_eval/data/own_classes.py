"""What a data set says of its own classes, as torchvision's do in `classes`: the names of labels 0, 1, …"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from torch.utils.data import ConcatDataset, DataLoader, Subset

from mlflow_pt_eval.class_names import is_list
from mlflow_pt_eval.errors import BadInput

_SHOWN = 20  # labels that a message lists


def check_own_classes(source: Any, names: Sequence[str]) -> None:
    """Refuse names of outputs that are names of other labels, too: every such sample would count for another class.

    A folder of images without one class, say, numbers those behind it otherwise than the training's did.
    """
    outputs = list(names)
    if outputs == [str(place) for place in range(len(outputs))]:  # names that only count
        return
    for own in _own_classes(source.dataset if isinstance(source, DataLoader) else source):
        _check(own, outputs)


def _check(own: list[str], outputs: list[str]) -> None:
    labels = {name: label for label, name in enumerate(own)}
    wrong = [name for output, name in enumerate(outputs) if labels.get(name, output) != output]
    if not wrong:
        return
    absent = iter(range(-1, -len(outputs) - 1, -1))  # numbers that are no label
    fitting = [labels[name] if name in labels else next(absent) for name in outputs]
    way = f": give classes={fitting}, the label of each output" if len(outputs) <= _SHOWN else ""
    raise BadInput(
        f"{wrong[0]!r} is output {outputs.index(wrong[0])} by the class names, but label {labels[wrong[0]]} by the "
        f"data set's own `classes`{way}."
    )


def _own_classes(dataset: Any) -> Iterator[list[str]]:
    """Yield the `classes` of a data set, or of all that it is put together of."""
    while isinstance(dataset, Subset):
        dataset = dataset.dataset
    if isinstance(dataset, ConcatDataset):
        for part in dataset.datasets:
            yield from _own_classes(part)
    own: Any = getattr(dataset, "classes", None)
    # What a target_transform makes of the labels is not known.
    if is_list(own) and getattr(dataset, "target_transform", None) is None:
        yield [str(name) for name in own]

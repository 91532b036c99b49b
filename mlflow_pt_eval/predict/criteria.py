"""What a criterion says of itself, and the form in which it wants a batch's outputs and labels."""

from __future__ import annotations

import functools
import numbers
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal

import torch
from torch import nn
from torch.nn import functional

from mlflow_pt_eval.errors import BadInput, PtEvalError, with_kind

Criterion = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
Form = Literal["classes", "pairs", "as they are"]

_HALF: Final = (torch.float16, torch.bfloat16)
_CLASS_MODULES: Final = (nn.CrossEntropyLoss, nn.NLLLoss)
_CLASS_FUNCTIONS: Final = (functional.cross_entropy, functional.nll_loss)
_MARGIN_MODULES: Final = (nn.MultiMarginLoss, nn.MultiLabelMarginLoss)  # whose labels are indices, too
_MARGIN_FUNCTIONS: Final = (functional.multi_margin_loss, functional.multilabel_margin_loss)


@dataclass(frozen=True, eq=False, kw_only=True)
class Known:
    """A criterion, and what is known of it; a `functools.partial` is known as what it calls, with its keywords.

    *classes*: it is a cross-entropy or NLL, whose labels are classes. *form*: "classes" for torch's own ones, "pairs"
    for its other losses, which take a target for each output; what the user wrote gets labels "as they are".
    """

    call: Criterion
    name: str
    reduction: str
    classes: bool
    form: Form
    weight: torch.Tensor | None
    ignore_index: int
    half: bool  # it holds numbers in half precision, so that it takes no others
    device: torch.device | None  # where what it holds is; None where it holds nothing

    def fit(self, outputs: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return both as the criterion wants them: where it is, in full precision, classes as int64, pairs alike."""
        if self.device is not None and self.device != outputs.device:
            outputs, targets = outputs.to(self.device), targets.to(self.device)
        if not self.half:
            outputs, targets = _full(outputs), _full(targets)
        if self.form == "classes":
            return outputs, self._as_classes(targets, outputs)
        # Of two shapes, (N,) and (N, 1) say, torch would compare each output with every label.
        if self.form == "pairs" and targets.numel() == outputs.numel():
            return outputs, _paired(targets, outputs)
        return outputs, targets

    def value(self, outputs: torch.Tensor, targets: torch.Tensor, start: int, samples: int) -> torch.Tensor:
        """Call the criterion; BadInput with the place (the first sample is number *start*) where it fails."""
        try:
            found: Any = self.call(outputs, targets)
        except (PtEvalError, torch.OutOfMemoryError):
            raise
        except Exception as error:
            raise BadInput(
                f"{self.name} failed on the {samples} samples from {start} on, with outputs {_form(outputs)} and "
                f"labels {_form(targets)}: {with_kind(error)}"
            ) from error
        if isinstance(found, numbers.Real):
            return torch.as_tensor(float(found), dtype=torch.float64)
        if not isinstance(found, torch.Tensor):
            raise BadInput(f"{self.name} returned a {type(found).__name__}: a criterion returns its loss as a tensor.")
        return found

    def _as_classes(self, targets: torch.Tensor, outputs: torch.Tensor) -> torch.Tensor:
        if targets.dtype == torch.int64 and targets.ndim == outputs.ndim - 1:
            return targets  # nearly always, and batches are many
        if targets.is_floating_point():
            return self._as_probabilities(targets, outputs)
        if outputs.ndim > 1 and outputs.shape[1] > 1 and targets.shape == outputs.shape:  # one-hot
            return targets.to(outputs.dtype)
        shape = outputs.shape[:1] + outputs.shape[2:]
        fits = outputs.ndim > 1 and targets.numel() == shape.numel()
        return (targets.reshape(shape) if fits else targets).long()

    def _as_probabilities(self, targets: torch.Tensor, outputs: torch.Tensor) -> torch.Tensor:
        squeezed = outputs.ndim == 1 and targets.numel() == outputs.numel()
        if targets.shape != outputs.shape and not squeezed:
            raise BadInput(
                f"{self.name} was given outputs {_form(outputs)} and labels {_form(targets)}: labels are int64 "
                "classes, or probabilities in the outputs' shape."
            )
        return targets.reshape(outputs.shape)


def known(criterion: Any) -> Known:
    """Look at a criterion; BadInput where it is nothing that can be called with outputs and labels."""
    core, keywords = _unwrapped(criterion)
    held = _held(core, keywords)
    if isinstance(core, type) or not callable(core):
        what = f"the class {core.__name__}" if isinstance(core, type) else f"a {type(core).__name__}"
        raise BadInput(f"criterion is {what}: give a loss to call with outputs and labels, as nn.CrossEntropyLoss().")

    def setting(name: str, default: Any) -> Any:
        return keywords.get(name, getattr(core, name, default))

    classes = isinstance(core, _CLASS_MODULES) or core in _CLASS_FUNCTIONS
    indices = isinstance(core, _MARGIN_MODULES) or core in _MARGIN_FUNCTIONS
    own = getattr(core, "__module__", None) in ("torch.nn.modules.loss", "torch.nn.functional")
    return Known(
        call=criterion,
        name=getattr(core, "__name__", type(core).__name__),
        reduction=getattr(criterion, "reduction", setting("reduction", "mean")),
        classes=classes,
        form="as they are" if indices or not own else "classes" if classes else "pairs",
        weight=setting("weight", None) if classes else None,
        ignore_index=setting("ignore_index", -100) if classes else -100,
        half=any(tensor.dtype in _HALF for tensor in held),
        device=held[0].device if held else None,
    )


def _unwrapped(criterion: Any) -> tuple[Any, dict[str, Any]]:
    """Return what partials call in the end, and the keywords that it gets, the outer ones before the inner."""
    keywords: dict[str, Any] = {}
    while isinstance(criterion, functools.partial):
        criterion, keywords = criterion.func, {**criterion.keywords, **keywords}
    return criterion, keywords


def _held(core: Any, keywords: dict[str, Any]) -> list[torch.Tensor]:
    """Return a criterion's own tensors, as class weights."""
    own = [*core.parameters(), *core.buffers()] if isinstance(core, nn.Module) else []
    return [*own, *(value for value in keywords.values() if isinstance(value, torch.Tensor))]


def _full(value: torch.Tensor) -> torch.Tensor:
    return value.float() if value.dtype in _HALF else value


def _paired(targets: torch.Tensor, outputs: torch.Tensor) -> torch.Tensor:
    """Give targets, one for each output, the outputs' shape, and whole numbers their dtype."""
    return (targets if targets.is_floating_point() else targets.to(outputs.dtype)).reshape(outputs.shape)


def _form(value: torch.Tensor) -> str:
    return f"{tuple(value.shape)} {str(value.dtype).removeprefix('torch.')}"

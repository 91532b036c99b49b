"""A candidate: everything about a live model that publishing needs, taken without touching the live model."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mlflow_pt_eval.class_names import check_class_names
from mlflow_pt_eval.errors import BadInput, RegistrationFailed, first_line
from mlflow_pt_eval.exporting.description import check_description
from mlflow_pt_eval.exporting.factory import Factory
from mlflow_pt_eval.exporting.folder import DATA_DIR, PROGRAM_FILE, ModelInfo, save_weights
from mlflow_pt_eval.exporting.inputs import Example, named_outputs, read_example
from mlflow_pt_eval.exporting.probing import refused_size, takes
from mlflow_pt_eval.exporting.program import ExportRefused, export_program, graph_of, save_program
from mlflow_pt_eval.exporting.snapshot import frozen_copy, load_strictly
from mlflow_pt_eval.names import Outputs
from mlflow_pt_eval.predict.model import scores_in
from mlflow_pt_eval.state import weights_sha256

_log = logging.getLogger("mlflow_pt_eval")


@dataclass(frozen=True, kw_only=True, eq=False)
class Candidate:
    """A frozen model with its example, what it gives for it, and the digest of its weights.

    `example` has at least two samples; `given` is the user's own.
    """

    model: nn.Module
    given: Example
    example: Example
    expected: Mapping[str, torch.Tensor]
    sha256: str
    outputs: Outputs
    class_names: tuple[str, ...] | None
    factory: Factory | None

    def write(self, folder: Path) -> ModelInfo:
        """Write the weights and, where torch can export the model, its graph into *folder*; return what it is.

        Errors: RegistrationFailed where the export is refused and there is no factory, or the factory's module does
        not give what the live one gives.
        """
        save_weights(folder, self.model.state_dict())
        program, reason = self._graph()
        if program is not None:
            (folder / DATA_DIR).mkdir()
            try:
                save_program(program, folder / PROGRAM_FILE)
            except ExportRefused as error:
                reason = str(error)
                self._check_factory(reason)
        return ModelInfo(
            form="exported" if reason is None else "factory",
            reason=reason,
            call=self.given.call,
            outputs=self.outputs,
            class_names=self.class_names,
            weights_sha256=self.sha256,
            factory=None if reason is None else self.factory,
        )

    def check(self) -> None:
        """Raise what `write` would raise of the model, without a file."""
        self._graph()

    def _graph(self) -> tuple[torch.export.ExportedProgram | None, str | None]:
        """Return the model's graph, or None and why the factory is needed.

        That is also where the graph refuses a length that the model takes, as those of recurrent layers do.
        """
        try:
            program = export_program(self.model, self.example)
            narrow = refused_size(graph_of(program), self.model, self.example)
        except ExportRefused as error:
            self._check_factory(str(error))
            return None, str(error)
        if narrow is None:
            return program, None
        if self.factory is None:
            _log.warning("%s: for other sizes give factory='package.module:callable', which makes the module", narrow)
            return program, None
        self._check_factory(narrow)
        return None, narrow

    def _check_factory(self, reason: str) -> None:
        if self.factory is None and self._is_one_sample():
            shape = tuple(next(iter(self.example.tensors.values())).shape)
            raise RegistrationFailed(
                f"a {type(self.model).__name__} takes no other batch size than the input example's, whose first "
                f"dimension {shape} is taken for the batch: give a batch of samples, such as x[:2]."
            )
        if self.factory is None:
            raise RegistrationFailed(
                f"torch.export refuses a {type(self.model).__name__}: {reason}. Either change that part of its "
                "forward, or give factory='package.module:callable', which makes the module for the weights."
            )
        load_strictly(self.factory.build(), self.model.state_dict())

    def _is_one_sample(self) -> bool:
        """Say whether the example seems to be one sample: it cannot be twice as long, but one of a batch."""
        tensors = self.example.tensors
        longer = {name: torch.cat([each, each]) if each.ndim else each for name, each in tensors.items()}
        batch = {name: each[None] for name, each in tensors.items()}
        refused = not takes(self.model, replace(self.example, tensors=longer))
        return refused and takes(self.model, replace(self.example, tensors=batch))


def take_candidate(
    model: nn.Module,
    *,
    input_example: Any,
    weights: Mapping[str, torch.Tensor] | None = None,
    outputs: Outputs = "logits",
    class_names: Sequence[str] | None = None,
    factory: str | None = None,
    factory_kwargs: Mapping[str, Any] | None = None,
) -> Candidate:
    """Freeze a copy of *model* (with *weights* instead of its own, if given) and run it on the example.

    The caller keeps the random number generators as they were. Errors: BadInput for an example that is none or that
    the model cannot take, for outputs that hold no scores, and for *outputs* or *class_names* that do not go with
    them; StateMismatch for weights that do not fit, RegistrationFailed for a model that cannot be copied.
    """
    if outputs not in ("logits", "probabilities"):
        raise BadInput(f"outputs={outputs!r}: a model's outputs are 'logits' or 'probabilities'.")
    names = None if class_names is None else check_class_names(class_names)
    made_by = None if factory is None else Factory(factory, dict(factory_kwargs or {}))
    frozen = frozen_copy(model, weights)
    given = read_example(input_example, frozen)
    example = given.at_least_two()
    output = _output(frozen, example)
    check_description(scores_in(output), outputs, names)
    return Candidate(
        model=frozen,
        given=given,
        example=example,
        expected=named_outputs(output),
        sha256=weights_sha256(frozen.state_dict()),
        outputs=outputs,
        class_names=names,
        factory=made_by,
    )


def _output(model: nn.Module, example: Example) -> Any:
    shapes = ", ".join(f"{name} {tuple(t.shape)} {t.dtype}" for name, t in example.tensors.items())
    try:
        return example.ask(model)
    except Exception as error:  # the model's own code can raise anything
        raise BadInput(
            f"a {type(model).__name__} does not take the example ({shapes}): {type(error).__name__}: "
            f"{first_line(error)}. Give input_example as the model takes it, on the CPU."
        ) from error

"""What to tell who wants to compare versions whose evaluations are missing, or are of different data."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from mlflow_pt_eval.errors import BadInput
from mlflow_pt_eval.tracking.evaluations import EvaluationRun
from mlflow_pt_eval.tracking.version_info import VersionInfo


def require_evaluations(infos: Sequence[VersionInfo], found: Sequence[Sequence[EvaluationRun]], split: str) -> None:
    """Raise BadInput with the command to run for each version that was never evaluated on *split*."""
    missing = [info.uri for info, runs in zip(infos, found, strict=True) if not runs]
    if missing:
        other = next((runs[0] for runs in found if runs), None)
        commands = " and ".join(f"`{evaluate_command(uri, split, other)}`" for uri in missing)
        raise BadInput(
            f"{' and '.join(missing)} {'has' if len(missing) == 1 else 'have'} no finished evaluation on the split "
            f"{split!r}: run {commands}{'' if other is None else f' (the data are {_data(other)})'}."
        )


def evaluate_command(model_uri: str, split: str, like: EvaluationRun | None) -> str:
    """Return the command that evaluates a version on the data of the run *like*, as far as its SPEC is known."""
    spec = "SPEC" if like is None or like.data_spec is None else like.data_spec
    return shlex.join(["mlflow-pt-eval", "evaluate", model_uri, "--data", spec, "--split", split])


def different_data(infos: Sequence[VersionInfo], found: Sequence[Sequence[EvaluationRun]], split: str) -> BadInput:
    """Return the error for versions that were never evaluated on the same data, with a command that mends it."""
    on = ", ".join(f"{info.uri} on {_data(runs[0])}" for info, runs in zip(infos, found, strict=True))
    return BadInput(
        f"the evaluations on the split {split!r} are of different data: {on}. "
        f"Run `{evaluate_command(infos[0].uri, split, found[-1][0])}`, with the data of {infos[-1].uri}."
    )


def _data(run: EvaluationRun) -> str:
    return f"{run.dataset_name or 'data'} (digest {run.dataset_digest})"

"""A fresh process that loads a published folder and computes its outputs; the live model's must be the same.

`python -m mlflow_pt_eval.exporting.prove` is that process. It starts early and imports torch while the caller still
exports; then one line of JSON tells it what to do. It needs neither MLflow nor, for an exported graph, the project.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
from safetensors.torch import load_file, save_file

import mlflow_pt_eval
from mlflow_pt_eval.errors import PtEvalError, RegistrationFailed, with_kind
from mlflow_pt_eval.exporting.folder import load_folder, read_info
from mlflow_pt_eval.exporting.inputs import Example

TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-5, torch.float16: 1e-2, torch.bfloat16: 2e-2}
"""How far outputs may be apart, times the largest output where that is above 1; other types must be equal.

Most exports are bit-equal. Attention is not: eager mode has a fused kernel for it that the graph does not use.
"""
SECONDS = 900  # for the largest models; a hang must end some time


class Prover:
    """A fresh process, started now, that proves published folders: one folder a process.

    Use it as a context manager: the process ends with the block at the latest.
    """

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="pt_eval_prove.")
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        self._start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()
        self._folder.cleanup()

    def check(self, folder: Path, example: Example, expected: Mapping[str, torch.Tensor]) -> None:
        """Raise RegistrationFailed, naming the difference, unless *folder*'s model gives *expected* for *example*."""
        if self._process is None:
            self._start()
        place = Path(self._folder.name)
        save_file(_numbered(example.tensors), place / "example.safetensors")
        job = {"folder": str(folder.absolute()), "threads": torch.get_num_threads(), "path": _import_path()}
        try:
            self._run(json.dumps(job))
            compare(expected, _named(load_file(place / "outputs.safetensors")))
        finally:
            self._end()

    def _start(self) -> None:
        # A session of its own: Ctrl-C in the terminal is for the training, which decides what becomes of this.
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "mlflow_pt_eval.exporting.prove"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self._folder.name,
            env=_environment(),
            start_new_session=True,
        )

    def _run(self, job: str) -> None:
        assert self._process is not None
        try:
            _, errors = self._process.communicate(job, timeout=SECONDS)
        except subprocess.TimeoutExpired as error:
            raise RegistrationFailed(f"a fresh process did not load the model within {SECONDS} seconds.") from error
        if self._process.returncode != 0:
            said = [line for line in errors.splitlines() if line.strip()]
            raise RegistrationFailed(
                f"a fresh process could not run the published model: "
                f"{said[-1][:500] if said else f'it ended with status {self._process.returncode}'}"
            )

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


def compare(expected: Mapping[str, torch.Tensor], found: Mapping[str, torch.Tensor]) -> None:
    """Raise RegistrationFailed, naming the output and the difference, unless both hold the same within TOLERANCE."""
    if expected.keys() != found.keys():
        raise RegistrationFailed(
            f"loaded back in a fresh process, the model has the outputs {sorted(found)} instead of {sorted(expected)}."
        )
    for name, want in expected.items():
        told = difference(want, found[name])
        if told is not None:
            what = f"output {name!r}" if name else "output"
            raise RegistrationFailed(
                f"loaded back in a fresh process, the model's {what} on the example differs from the live model's: "
                f"{told}."
            )


def difference(want: torch.Tensor, got: torch.Tensor) -> str | None:
    """Say how far apart two outputs are; None for equal ones, and for those within TOLERANCE."""
    if want.shape != got.shape or want.dtype != got.dtype:
        return f"{tuple(got.shape)} {got.dtype} instead of {tuple(want.shape)} {want.dtype}"
    same = (want == got) | (want != want) & (got != got)
    if bool(same.all()):
        return None
    allowed = TOLERANCE.get(want.dtype, 0.0)
    apart = torch.where(same, 0.0, (want.double() - got.double()).abs())
    largest = float(apart.max())  # NaN where only one of the two is
    scale = max(1.0, float(want.double().nan_to_num(0.0, 0.0, 0.0).abs().max()))
    if largest <= allowed * scale:
        return None
    return f"at most {largest:.3g}, allowed are {allowed * scale:.3g} ({int((~same).sum())} of {want.numel()} values)"


def _environment() -> dict[str, str]:
    """Return an environment that finds this package, and neither a GPU nor the caller's MLflow run."""
    package = str(Path(mlflow_pt_eval.__file__).parent.parent)
    env = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")}
    env["PYTHONPATH"] = os.pathsep.join(filter(None, [package, env.get("PYTHONPATH")]))
    return env | {"CUDA_VISIBLE_DEVICES": ""}


def _import_path() -> list[str]:
    """Return where this process imports from, which a factory's module may need, made absolute."""
    return [str(Path(entry).absolute()) for entry in sys.path]


def _numbered(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Make tensors fit for a safetensors file, which keeps no order, knows no empty name and no shared memory."""
    return {f"{index:04d}:{name}": tensor.contiguous().clone() for index, (name, tensor) in enumerate(tensors.items())}


def _named(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name.partition(":")[2]: tensor for name, tensor in sorted(tensors.items())}


def main() -> int:
    """Do the one job that a line on standard input describes; 0, or 1 with the reason as the last line of stderr."""
    from torch.export import pt2_archive  # noqa: F401  (the slow half of loading, done while waiting)

    line = sys.stdin.readline()
    if not line:
        return 0
    job: dict[str, Any] = json.loads(line)
    folder, info = Path(job["folder"]), read_info(Path(job["folder"]))
    torch.set_num_threads(job["threads"])  # sums in the same order as the caller's
    if info.factory is not None:
        sys.path.extend(job["path"])
    try:
        example = Example(info.call or "single", _named(load_file("example.safetensors")))
        save_file(_numbered(example.run(load_folder(folder))), "outputs.safetensors")
    except PtEvalError as error:
        print(error, file=sys.stderr)
        return 1
    except Exception as error:  # whatever the model's code raises is the answer
        print(with_kind(error), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The state of every random number generator that a training draws from unasked: Python, NumPy, torch, CUDA."""

from __future__ import annotations

import random
import struct
from array import array
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from mlflow_pt_eval.errors import StateMismatch

Rng = dict[str, Any]


def capture_rng() -> Rng:
    """Return the state of Python's, NumPy's and torch's global generators, as tensors and ints only.

    CUDA's are there, one a device, if this process uses CUDA; asking doesn't initialise it. Nothing is drawn.
    """
    return {
        "python": encode_python(random.getstate()),
        "numpy": encode_numpy(_numpy_state()),
        "torch": torch.get_rng_state(),
        "cuda": _cuda_states(),
    }


def restore_rng(rng: Mapping[str, Any], *, strict: bool = True) -> None:
    """Put back what `capture_rng` returned.

    StateMismatch, before anything is changed, if the state of more CUDA devices was captured than there are here;
    with `strict=False` those are left out.
    """
    cuda = rng["cuda"]
    present = torch.cuda.device_count() if cuda else 0
    if strict and len(cuda) > present:
        raise StateMismatch(
            f"the checkpoint holds the random state of {len(cuda)} CUDA devices, here are {present}. "
            "Resume where there are as many, or with strict=False, which starts their generators anew."
        )
    random.setstate(decode_python(rng["python"]))
    _set_numpy_state(decode_numpy(rng["numpy"]))
    torch.set_rng_state(rng["torch"])
    for device, state in enumerate(cuda[:present]):
        torch.cuda.set_rng_state(state, device)


@contextmanager
def preserved_rng() -> Iterator[None]:
    """Leave Python's, NumPy's and torch's global generators, and CUDA's where in use, as they were before the block.

    CUDA is neither imported nor initialised for it. If the block itself initialises CUDA, those generators keep what
    the block left.
    """
    python, numpy = random.getstate(), _numpy_state()
    cpu, cuda = torch.get_rng_state(), _cuda_states()
    try:
        yield
    finally:
        random.setstate(python)
        _set_numpy_state(numpy)
        torch.set_rng_state(cpu)
        for device, state in enumerate(cuda):
            torch.cuda.set_rng_state(state, device)


def _numpy_state() -> Any:
    return np.random.get_state(legacy=False)  # noqa: NPY002 (it is the global generator's state that is wanted)


def _set_numpy_state(state: Any) -> None:
    np.random.set_state(state)  # noqa: NPY002 (same)


def _cuda_states() -> list[torch.Tensor]:
    """Return the state of each CUDA device's generator; none unless this process has initialised CUDA."""
    return torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []


def encode_python(state: tuple[Any, ...]) -> dict[str, Any]:
    """Return the state of a `random.Random` as tensors and ints; *gauss* has the bits of one number, or nothing."""
    version, words, gauss = state
    return {
        "version": version,
        "words": torch.frombuffer(array("I", words), dtype=torch.int32),
        "gauss": [] if gauss is None else [_bits_of(gauss)],
    }


def decode_python(state: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return what `random.Random.setstate` takes."""
    words = state["words"].numpy().view(np.uint32).tolist()
    return state["version"], tuple(words), next(map(_float_of, state["gauss"]), None)


def encode_numpy(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return the state of a NumPy generator as tensors and ints, whatever bit generator it has.

    Arrays of unsigned numbers (which NumPy hands out as copies) become tensors of signed ones with the same bits;
    names and floats become ints.
    """
    return {key: _ENCODERS.get(type(value), int)(value) for key, value in state.items()}


def decode_numpy(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a NumPy generator takes as its state."""
    return {key: _decode(key, value) for key, value in state.items()}


_SIGNED = {np.uint32: np.int32, np.uint64: np.int64}

_ENCODERS: dict[type, Callable[[Any], Any]] = {
    dict: encode_numpy,
    np.ndarray: lambda value: torch.from_numpy(value.view(_SIGNED[value.dtype.type])),
    str: lambda value: int.from_bytes(value.encode()),
    float: lambda value: _bits_of(value),
}


def _decode(key: str, value: Any) -> Any:
    if isinstance(value, Mapping):
        return decode_numpy(value)
    if isinstance(value, torch.Tensor):
        return value.numpy().view(f"u{value.itemsize}").copy()
    if key == "bit_generator":
        return value.to_bytes((value.bit_length() + 7) // 8).decode()
    return _float_of(value) if key == "gauss" else value


def _bits_of(value: float) -> int:
    return int(struct.unpack("<Q", struct.pack("<d", value))[0])


def _float_of(bits: int) -> float:
    return float(struct.unpack("<d", struct.pack("<Q", bits))[0])

"""One number for a model's weights."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import torch

from mlflow_pt_eval.errors import BadInput
from mlflow_pt_eval.state.codec import encode


def weights_sha256(state_dict: Mapping[str, Any]) -> str:
    """Return the SHA-256 (hex) over a state_dict: for each key, sorted, the name, dtype, shape and bytes.

    It depends neither on the order of the keys nor on device, strides or gradients. An entry that is no tensor
    (`get_extra_state`) counts with its type and value. BadInput for one that a checkpoint could not hold either.
    """
    digest = hashlib.sha256()
    for key in sorted(state_dict):
        _add(digest, "key", key)
        _add_value(digest, encode(state_dict[key], name=key))
    return digest.hexdigest()


def _add_value(digest: Any, value: Any) -> None:
    """Feed one encoded value: its type, its length, its parts."""
    if isinstance(value, torch.Tensor):
        _add_tensor(digest, value)
    elif isinstance(value, Mapping):
        _add(digest, "mapping", str(len(value)))
        for key, item in value.items():
            _add_value(digest, key)
            _add_value(digest, item)
    elif isinstance(value, list | tuple):
        _add(digest, type(value).__name__, str(len(value)))
        for item in value:
            _add_value(digest, item)
    else:
        _add(digest, type(value).__name__, repr(sorted(value, key=repr) if isinstance(value, set) else value))


def _add_tensor(digest: Any, tensor: torch.Tensor) -> None:
    """Feed a tensor's dtype, shape and bytes in row-major order."""
    if tensor.layout is not torch.strided or tensor.is_quantized:
        raise BadInput(f"weights with the layout {tensor.layout} (or quantized) have no digest: make them dense first.")
    _add(digest, "tensor", f"{tensor.dtype} {tuple(tensor.shape)}")
    plain = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous()
    digest.update(plain.reshape(-1).view(torch.uint8).numpy())


def _add(digest: Any, kind: str, text: str) -> None:
    """Feed a text with its kind and length, so that no two sequences of texts read the same."""
    data = text.encode("utf-8", "surrogatepass")
    digest.update(f"{kind}:{len(data)}:".encode())
    digest.update(data)

"""Whether the same program gives the same numbers twice, as far as torch tells."""

from __future__ import annotations

import torch


def may_vary() -> bool:
    """Say whether this process uses CUDA without having asked for deterministic kernels."""
    return torch.cuda.is_initialized() and not torch.are_deterministic_algorithms_enabled()

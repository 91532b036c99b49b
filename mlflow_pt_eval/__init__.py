"""You keep your own PyTorch loop; every run of it becomes resumable, registered, evaluated and comparable in MLflow."""

from __future__ import annotations

__version__ = "0.1.0"

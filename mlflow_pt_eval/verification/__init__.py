"""The proof that a script's training resumes exactly: `verify_resume`.

What runs in the caller's process needs the standard library only; what needs torch and MLflow runs in processes of
its own (`harness`).
"""

from __future__ import annotations

from mlflow_pt_eval.verification.verdict import Rehearsed, Verdict
from mlflow_pt_eval.verification.verify import verify_resume

__all__ = ["Rehearsed", "Verdict", "verify_resume"]

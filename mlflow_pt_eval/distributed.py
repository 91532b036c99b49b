"""Several processes of one training: who this one is among them."""

from __future__ import annotations

import logging
import os

from mlflow_pt_eval.errors import BadInput

_log = logging.getLogger("mlflow_pt_eval")


def require_first_rank() -> None:
    """Raise BadInput in every process of a distributed training but the first; warn in that one.

    torchrun's environment says who is who. Only one process may write to the run, and only its random states and
    its place in the loader are saved.
    """
    size, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    if size > 1 and rank > 0:
        raise BadInput(
            f"TrainingRun was opened in process {rank} of {size}; it is not coordinated between processes. "
            "Open it on rank 0 only, or train in one process."
        )
    if size > 1:
        _log.warning(
            "TrainingRun saves the random states and the loader position of rank 0 only: "
            "a resume of these %d processes is not exact",
            size,
        )

"""What each process of a training has of its own in a checkpoint: random states, its place in the loader, its means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlflow_pt_eval.errors import PtEvalError
from mlflow_pt_eval.names import CheckpointName

_KEYS = ("position", "epoch_rng", "account", "norms")


@dataclass(frozen=True)
class Share:
    """One process's part of a checkpoint, as it takes it up; None where it has none (another world size)."""

    rng: Mapping[str, Any] | None
    position: Mapping[str, Any] | None
    epoch_rng: Mapping[str, Any] | None
    account: Mapping[str, Any] | None
    norms: Mapping[str, Any] | None
    partial: bool


def join(account: dict[str, Any], shares: Sequence[dict[str, Any]], name: CheckpointName) -> dict[str, Any]:
    """Return rank 0's *account* with the shares of the other processes, in the order of ranks.

    PtEvalError if one of them stands behind a batch that rank 0's state has not seen.
    """
    for rank, share in enumerate(shares, start=1):
        if share["step"] > account["step"]:
            raise PtEvalError(
                f"the checkpoint {name} is not saved: rank {rank} had done {share['step']} batches by then, rank 0 "
                f"{account['step']}. Give every process the same number of batches."
            )
    progress = account["progress"]
    ranks = [*progress["ranks"], *({key: share[key] for key in _KEYS} for share in shares)]
    return {**account, "rng": [*account["rng"], *(s["rng"] for s in shares)], "progress": {**progress, "ranks": ranks}}


def share_in(tree: Mapping[str, Any], rank: int, size: int) -> Share:
    """Return what process *rank* of *size* takes up.

    Of a checkpoint that as many processes made: its own share. Of another one's end of an epoch: the place in the
    loader of the rank that it counts to, so that private generators go on alike, and random states where it has
    some. The middle of an epoch that other processes shared out otherwise is nobody's place: the epoch begins anew.
    """
    progress = tree["progress"]
    saved, partial = len(tree["rng"]), not progress["complete"]
    own = progress["ranks"][rank % saved]
    rng = tree["rng"][rank] if rank < saved else None
    if saved == size:
        account = own.get("account", progress)
        return Share(rng, own["position"], own["epoch_rng"], account, own.get("norms"), partial)
    if partial:
        return Share(rng, None, None, None, None, partial=False)
    return Share(rng, own["position"], None, progress, None, partial=False)

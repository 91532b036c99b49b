"""Restoring a checkpoint in a process of a training, and saying what is not as it was."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from mlflow_pt_eval.distributed import Ranks
from mlflow_pt_eval.state import (
    SHARDS_KEY,
    RestoreReport,
    Stateful,
    capture_flags,
    restore_flags,
    restore_norms,
    restore_state,
    take_up_shards,
)
from mlflow_pt_eval.tracking.checkpoint_trees import LoadedCheckpoint
from mlflow_pt_eval.training.overruling import say_what_was_put_back
from mlflow_pt_eval.training.progress import Progress
from mlflow_pt_eval.training.recorder import describe_versions
from mlflow_pt_eval.training.shares import Share, share_in

_log = logging.getLogger("mlflow_pt_eval")


def restore(
    checkpoint: LoadedCheckpoint,
    state: Mapping[str, Stateful],
    progress: Progress,
    ranks: Ranks,
    *,
    sharded: bool = False,
    strict: bool,
) -> tuple[Share, Callable[[], object]]:
    """Give the live objects and the account of the training back what they were.

    Return what is this process's own, and a function that does the same once more. *sharded*: each process holds its
    own part of the state. Random states and the place in the loader are put back later, when the epoch begins.
    """
    tree, name = checkpoint.tree, checkpoint.name
    if sharded or SHARDS_KEY in tree:
        with tempfile.TemporaryDirectory() as scratch:
            fetch = partial(checkpoint.source().fetch_file, checkpoint.manifest, Path(scratch))
            tree = take_up_shards(tree, state, fetch)
    share = share_in(tree, ranks.rank, ranks.size)
    epoch = name.epoch + 1 if name.complete else name.epoch
    flags, here = tree["progress"].get("flags"), capture_flags(state)

    def put_back() -> RestoreReport:
        report = restore_state(tree, state, strict=strict)
        if flags is not None:  # a checkpoint of an older version holds none
            restore_flags(state, flags)
        if share.norms is not None:
            restore_norms(state["model"], share.norms)
        progress.restore(share.account, history=checkpoint.manifest.history, epoch=epoch, step=name.step)
        return report

    report = put_back()
    if ranks.is_first:
        _say_what_differs(checkpoint, report, ranks.size)
        if flags is not None:
            say_what_was_put_back(name, state, flags=flags, began=tree["progress"]["flags_began"], here=here)
    return share, put_back


def _say_what_differs(checkpoint: LoadedCheckpoint, report: RestoreReport, size: int) -> None:
    """Warn of what is not as it was when the checkpoint was made."""
    name, saved = checkpoint.name, len(checkpoint.tree["rng"])
    if not report.complete:
        _log.warning("resumed from %s: %s", name, report)
    for package, version in describe_versions().items():
        before = checkpoint.manifest.versions.get(package)
        if before not in (None, version):
            _log.warning("the checkpoint %s was written with %s %s, this is %s", name, package, before, version)
    if saved != size:
        _log.warning(
            "the checkpoint %s was made by %d processes, here are %d: weights and optimizer are exact, random numbers "
            "and who trains on which batch are not%s",
            *(name, saved, size, "" if name.complete else f"; epoch {name.epoch} begins anew"),
        )

"""Saying where a checkpoint overrules what a script has set of its modules: what is frozen, what is in eval mode."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping

from torch import nn

from mlflow_pt_eval.names import CheckpointName
from mlflow_pt_eval.state import Flags, other_flags
from mlflow_pt_eval.wording import listed

_SHOWN = 4  # names in a message
_log = logging.getLogger("mlflow_pt_eval")


def say_what_was_put_back(
    name: CheckpointName, state: Mapping[str, object], *, flags: Flags, began: Flags, here: Flags
) -> None:
    """Warn where the script has changed since, and of wrappers that do not follow.

    *flags* are the checkpoint's, which stand now; *began*: those that its script had at first, where they were others;
    *here*: those that this script had. What both scripts set alike was changed by the training, and needs no word.
    """
    overruled = other_flags(here, than=flags)
    changed = list(_in_words(other_flags(overruled, than={kind: {**flags[kind], **began[kind]} for kind in flags})))
    if changed:
        _log.warning(
            "the script has changed since the checkpoint %s, which is followed: %s. To change it, set it inside the "
            "`with` block",
            name,
            listed(changed, _SHOWN),
        )
    thawed = [each for each, flag in overruled["requires_grad"].items() if not flag and _is_in_ddp(each, state)]
    if thawed:
        _log.warning(
            "thawed in mid-training: %s; the DistributedDataParallel around it was made before, and does not gather "
            "these gradients: put the module without it into the state, and wrap it inside the `with` block",
            listed(thawed, _SHOWN),
        )


def _in_words(overruled: Flags) -> Iterator[str]:
    for name, flag in overruled["requires_grad"].items():
        yield f"{name} is {'frozen' if flag else 'trained'} there"
    for name, flag in overruled["training"].items():
        yield f"{name} is in {'eval' if flag else 'train'} mode there"


def _is_in_ddp(name: str, state: Mapping[str, object]) -> bool:
    part = state[name.partition(".")[0]]
    return isinstance(part, nn.Module) and any(
        isinstance(module, nn.parallel.DistributedDataParallel) for module in part.modules()
    )

"""Starting a training script in several processes, by torchrun, from within itself."""

from __future__ import annotations

import os
import sys


def in_processes(count: int) -> None:
    """Go on in *count* processes of this machine: with more than one, this one becomes torchrun and starts them.

    Each of them runs the script from its beginning, with the same arguments, and comes here again; there, in a
    process that torchrun has started, and with *count* 1, nothing happens.
    """
    if count == 1 or "TORCHELASTIC_RUN_ID" in os.environ:
        return
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # what torchrun would set, with three lines of stars
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
    sys.stdout.flush()
    sys.stderr.flush()
    # In this process's place, so that a signal to it reaches torchrun, which hands it on. After `--` torchrun leaves
    # the script's own options alone, which it would otherwise take for abbreviations of its own.
    os.execv(sys.executable, [*torchrun, "--", *sys.argv])

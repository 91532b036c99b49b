"""A training of two processes for the tests: what each runs under torchrun, and what it leaves behind to compare.

With DistributedDataParallel, or, with sharded=1, with fully_shard.

python -m torch.distributed.run --standalone --nproc-per-node=2 ranks.py FOLDER EPOCHS [OPTION=VALUE …]
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from loops import Noisy
from torch import nn
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler

import mlflow_pt_eval as mpe


class Parts:
    """Everything that a training of several processes changes; each process draws random numbers of its own."""

    def __init__(self, *, rows: int = 37, sharded: bool = False) -> None:
        rank = dist.get_rank() if dist.is_initialized() else 0
        torch.manual_seed(1)
        self.net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 3))
        self.model = self.net
        if sharded:
            for module in (self.net[0], self.net[4], self.net):
                fully_shard(module)
        elif dist.is_initialized():
            self.model = DistributedDataParallel(self.net)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=0.01)
        torch.manual_seed(100 + rank)
        random.seed(200 + rank)
        np.random.seed(300 + rank)  # noqa: NPY002 (the global generator is what is tested)
        data = Noisy(rows)
        data.generator = torch.Generator().manual_seed(4 + rank)  # a private one, different in each process
        self.sampler = DistributedSampler(data, seed=5) if dist.is_initialized() else None
        self.train = DataLoader(data, batch_size=4, sampler=self.sampler, generator=data.generator)
        validation = DistributedSampler(data, shuffle=False) if dist.is_initialized() else None
        self.validation = DataLoader(data, batch_size=7, sampler=validation)
        self.criterion = nn.CrossEntropyLoss()

    def step(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Do one training step."""
        loss = self.criterion(self.model(x), y)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss

    def tree(self) -> dict[str, object]:
        """Return everything that must be equal, as torch.save takes it."""
        return {
            "model": here(self.net.state_dict()),
            "optimizer": here(self.optimizer.state_dict()),
            "python": list(random.getstate()[1]),
            "numpy": torch.from_numpy(np.random.get_state()[1].astype(np.int64)),  # noqa: NPY002
            "torch": torch.get_rng_state(),
            "private": self.train.generator.get_state(),
        }


def here(value: Any) -> Any:
    """Return a state with this process's part of each sharded tensor."""
    if isinstance(value, dict):
        return {key: here(item) for key, item in value.items()}
    return value.detach().to_local() if isinstance(value, DTensor) else value


def whole(value: Any) -> Any:
    """Return a state with each sharded tensor put together; all processes call it."""
    if isinstance(value, dict):
        return {key: whole(item) for key, item in value.items()}
    return value.detach().full_tensor() if isinstance(value, DTensor) else value


def options() -> dict[str, str]:
    """Read `name=value` from the command line."""
    return dict(word.split("=", 1) for word in sys.argv[3:])


class Here:
    """Does something at one place of one rank: kill, raise, stop or wait, as `at=place:epoch:batch:rank:what` says."""

    def __init__(self, folder: Path, said: str | None) -> None:
        self.folder, self.said = folder, (said or "none:0:0:0:none").split(":")

    def __call__(self, place: str, epoch: int, batch: int, run: mpe.TrainingRun) -> None:
        """Act if this is the place."""
        there, at_epoch, at_batch, rank, what = self.said
        if (there, int(at_epoch), int(at_batch)) != (place, epoch, batch):
            return
        if what == "ready":  # slow from here on, so that somebody can send a signal
            (self.folder / f"ready{dist.get_rank()}").write_text(str(os.getpid()))
            self.said = ["slow", *self.said[1:]]
        elif int(rank) in (dist.get_rank(), -1):
            self.act(what, run)

    def act(self, what: str, run: mpe.TrainingRun) -> None:
        """Do it."""
        if what == "kill":
            while not any(self.folder.glob("mlartifacts/**/manifest.json")):  # there is to be something to resume
                time.sleep(0.01)
            os.kill(os.getpid(), signal.SIGKILL)
        elif what == "raise":
            raise ArithmeticError("broken here")
        elif what == "stop":
            run.stop(f"enough for rank {dist.get_rank()}")
        elif what == "term":
            os.kill(os.getpid(), signal.SIGTERM)

    def pace(self) -> None:
        """Go slowly where somebody is to send a signal."""
        if self.said[0] == "slow":
            time.sleep(0.05)


def main() -> None:
    """Train, and leave the end in FOLDER."""
    folder, epochs, said = Path(sys.argv[1]), int(sys.argv[2]), options()
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    sharded = "sharded" in said
    if "bare" in said:
        bare(folder, epochs, sharded)
    parts, here = Parts(rows=int(said.get("rows", 37)), sharded=sharded), Here(folder, said.get("at"))
    saves = mpe.ModelCheckpoint(
        monitor="val_loss" if "monitor" in said else None,
        mode="min",
        every_n_steps=int(said["steps"]) if "steps" in said else None,
        every_seconds=float(said["seconds"]) if "seconds" in said else None,
        when_busy="wait",
    )
    registering = [mpe.RegisterBest("ranks", input_example=torch.zeros(2, 4))] if "register" in said else []
    run = mpe.TrainingRun(
        {"model": parts.model, "optimizer": parts.optimizer},
        callbacks=[saves, *registering],
        run_name="ranks",
        resume=said.get("resume"),
    )
    with run:
        for epoch in run.epochs(epochs):
            parts.sampler.set_epoch(epoch)
            parts.model.train()
            for batch, (x, y) in enumerate(run.batches(parts.train)):
                here("batch", epoch, batch, run)
                here.pace()
                run.log_step(train_loss=parts.step(x, y))
            here("validation", epoch, 0, run)
            run.log(**mpe.validate(parts.model, parts.validation, parts.criterion))
            here("end", epoch, 0, run)
    leave(folder, parts, run)


def bare(folder: Path, epochs: int, sharded: bool) -> None:
    """Train without the library, but for the same `validate`."""
    parts = Parts(sharded=sharded)
    for epoch in range(epochs):
        parts.sampler.set_epoch(epoch)
        parts.model.train()
        for x, y in parts.train:
            parts.step(x, y)
        mpe.validate(parts.model, parts.validation, parts.criterion)
    torch.save(parts.tree(), folder / f"bare{dist.get_rank()}.pt")


def leave(folder: Path, parts: Parts, run: mpe.TrainingRun) -> None:
    """Write what this process ended with."""
    rank = dist.get_rank()
    torch.save(parts.tree(), folder / f"tree{rank}.pt")
    together = {"model": whole(parts.net.state_dict()), "optimizer": whole(parts.optimizer.state_dict())}
    torch.save(together, folder / f"whole{rank}.pt")
    told = {
        "run_id": run.run_id,
        "history": run.history.to_json(),
        "stop_reason": run.stop_reason,
        "registered_version": run.registered_version,
    }
    (folder / f"told{rank}.json").write_text(json.dumps(told))
    dist.destroy_process_group()
    if isinstance(parts.net, FSDPModule):
        # With a sharded module on gloo, torch 2.13 sometimes aborts while the interpreter ends, also in a bare script.
        sys.stderr.flush()
        os._exit(0)


if __name__ == "__main__":
    main()

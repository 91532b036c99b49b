"""`verify_resume`: a script that resumes exactly is called exact, one that doesn't is told what differs first."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import traceback
from collections.abc import Sequence
from pathlib import Path

import pytest

from mlflow_pt_eval.errors import BadInput, NotFound
from mlflow_pt_eval.verification import Verdict, harness, verify_resume
from mlflow_pt_eval.verification.points import Course, Span, choose
from mlflow_pt_eval.verification.reports import Task
from mlflow_pt_eval.verification.series import Logged, differences, unsteady
from mlflow_pt_eval.verification.verify import Verification
from mlflow_pt_eval.verification.workspace import Ended, Workspace

MODEL = """
    from torch import nn

    def net():
        return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 3))
"""

# Randomness of all three libraries in the main process or in workers, dropout, shuffling, a scheduler at each step.
SCRIPT = """
    import argparse
    import random

    import numpy as np
    import torch
    from torch.utils.data import DataLoader, Dataset

    import mlflow_pt_eval as mpe
    from net import net

    class Noisy(Dataset):
        def __init__(self):
            self.x = torch.randn(20, 4, generator=torch.Generator().manual_seed(7))

        def __len__(self):
            return 20

        def __getitem__(self, i):
            return self.x[i] + torch.randn(4) + random.random() + float(np.random.rand()), i % 3

    def collate(items):
        return torch.utils.data.default_collate(items)

    if __name__ == "__main__":
        parser = argparse.ArgumentParser()
        parser.add_argument("--epochs", type=int, required=True)
        epochs = parser.parse_args().epochs
        torch.manual_seed(1)
        random.seed(2)
        np.random.seed(3)
        own, count, options, callbacks = np.random.default_rng(5), 0, {}, []
        model, data = net(), Noisy()
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.1, total_steps=200)
        state = {"model": model, "optimizer": optimizer, "scheduler": scheduler}
        # BEFORE
        loader = DataLoader(data, batch_size=4, shuffle=True, collate_fn=collate, **options)
        criterion = torch.nn.CrossEntropyLoss()
        with mpe.TrainingRun(state, callbacks=callbacks) as run:
            for epoch in run.epochs(epochs):
                for x, y in run.batches(loader):
                    # BATCH
                    loss = criterion(model(x), y)
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
                    scheduler.step()
                    run.log_step(train_loss=loss)
                # EPOCH
                run.log(**mpe.validate(model, loader, criterion))
        # AFTER
"""


def write(folder: Path, **lines: str) -> Path:
    """Write the script and what it imports into *folder*, with *lines* at its places; return its path."""
    folder.mkdir(exist_ok=True)
    text = textwrap.dedent(SCRIPT)
    for place, line in lines.items():
        mark = f"# {place.upper()}\n"
        (indented,) = [part for part in text.splitlines() if part.strip() == mark.strip()]
        text = text.replace(mark, line.replace("\n", "\n" + indented[: -len(mark.strip())]) + "\n")
    (folder / "net.py").write_text(textwrap.dedent(MODEL))
    (folder / "train.py").write_text(text)
    return folder / "train.py"


class Forked(Workspace):
    """A workspace whose processes are forks of this one, so that each saves seconds of imports."""

    def rehearse(self, task: Task, script: Path, args: Sequence[str]) -> Ended:
        self.reports.give(task)
        output = self.folder / "output.txt"
        child = os.fork()
        if child == 0:
            self._child(output, script, args)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        return Ended(status, output.read_text())

    def _child(self, output: Path, script: Path, args: Sequence[str]) -> None:
        os.dup2(os.open(output, os.O_CREAT | os.O_TRUNC | os.O_WRONLY), 2)
        sys.stderr, code = open(2, "w", buffering=1, closefd=False), 0  # noqa: SIM115, PTH123 (pytest's is another)
        try:
            harness.main(str(self.folder), str(script), *args)
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        except BaseException:
            traceback.print_exc()
            code = 1
        os._exit(code)


@pytest.fixture(scope="module")
def blank(blank_database: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of workspaces, in which the empty database of all tests is at hand."""
    return blank_database


def verify(folder: Path, script: Path, *args: str, kills: int = 1, seed: int = 0) -> tuple[Verdict, list[str]]:
    """Verify in forks; return the verdict and what was said."""
    said: list[str] = []
    (folder / "work").mkdir()
    verification = Verification(Forked(folder / "work"), script, args, said.append)
    return verification.run(kills, seed), said


def test_try(tmp_path):
    import time
    t = time.time()
    script = write(tmp_path / "user")
    verdict, said = verify(tmp_path, script, "--epochs", "3", kills=8)
    print("\n".join(said), time.time() - t)
    assert verdict.exact

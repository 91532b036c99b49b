"""Over several processes: each sample exactly once, and the result of a single process to the last bit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Subset, TensorDataset

from mlflow_pt_eval.data import load_data, share
from mlflow_pt_eval.errors import BadInput
from mlflow_pt_eval.evaluation import evaluate
from mlflow_pt_eval.predict import predict
from mlflow_pt_eval.tracking.store import connect

pytestmark = pytest.mark.slow

X = torch.arange(37.0)[:, None].repeat(1, 2)
Y = torch.arange(37) % 2
ITEMS = [(x, int(y)) for x, y in zip(X, Y, strict=True)]

# What every process runs: the cases, and what each gives.
PROGRAM = """
import json, sys
import numpy as np, torch, torch.distributed as dist
from torch import nn
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset
from mlflow_pt_eval.errors import PtEvalError, RankFailed
from mlflow_pt_eval.evaluation import evaluate
from mlflow_pt_eval.predict import predict

g = torch.Generator().manual_seed(0)
x, y = torch.randn(101, 6, generator=g), torch.arange(101) % 3
torch.manual_seed(1)
model = nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 3))
items = [(a, int(b)) for a, b in zip(x, y)]

class Fails(nn.Module):
    def forward(self, inputs):
        if dist.is_initialized() and dist.get_rank() == dist.get_world_size() - 1:
            raise ValueError("broken here")
        return inputs

def result(found):
    return [found.scores.tobytes().hex(), found.labels.tolist(), found.loss, found.digest, found.task]

def cases(**how):
    many = dist.is_initialized()
    padded = DataLoader(TensorDataset(x, y), batch_size=8, sampler=DistributedSampler(y) if many else None)
    loader = DataLoader(items, batch_size=8, num_workers=0, shuffle=True)
    criterion = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 3.0]))
    one = dict(criterion=criterion, digest=True, outputs="logits", **how)
    yield "sliced", lambda: result(predict(model, padded, **one))
    yield "streamed", lambda: result(predict(model, loader, **one))
    yield "fewer batches than processes", lambda: result(predict(model, (x[:5], y[:5]), batch_size=5, **one))
    yield "multilabel", lambda: result(predict(model, (x, 1 - torch.eye(3)[y]), batch_size=8, outputs="logits", **how))
    yield "probabilities", lambda: result(predict(nn.Identity(), (x[:, :3].softmax(1), y), batch_size=8, **how))
    ddp = nn.parallel.DistributedDataParallel(model) if many else model
    few = dict(one, digest=False)
    yield "DistributedDataParallel", lambda: result(predict(ddp, (x[:5], y[:5]), batch_size=5, **few))
    yield "logged", lambda: evaluate(model, (x, y), batch_size=8, outputs="logits", **how).to_json()

def refused(name, call):
    try:
        call()
    except PtEvalError as error:
        return f"{type(error).__name__}: {error}"

def errors():
    late = x.clone(); late[100, 2] = torch.nan
    yield "empty", lambda: predict(model, (x[:0], y[:0]), distributed=True)
    yield "nan", lambda: predict(nn.Identity(), (late[:, :3], y), batch_size=8, distributed=True)
    wrong = torch.where(torch.arange(101) == 100, 7, y)
    yield "label", lambda: predict(model, (x, wrong), batch_size=8, distributed=True)
    yield "one fails", lambda: predict(Fails(), (x[:, :3], y), batch_size=8, distributed=True)
    yield "iterable", lambda: predict(model, iter([(x, y)]), distributed=True)
    yield "run fails", lambda: evaluate(Fails(), (x[:, :3], y), distributed=True, batch_size=8)

if __name__ == "__main__":
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    found = {name: call() for name, call in cases(distributed=True)}
    found["alone"] = evaluate(model, (x, y), outputs="logits").metrics["accuracy"]
    ddp = nn.parallel.DistributedDataParallel(model)
    if dist.get_rank() == 1:
        predict(ddp, (x, y), outputs="logits")
    found["errors"] = {name: refused(name, call) for name, call in errors()}
    open(f"{sys.argv[1]}/{dist.get_rank()}.json", "w").write(json.dumps(found))
    dist.barrier()
    dist.destroy_process_group()
"""


@pytest.fixture(scope="module")
def several(tmp_path_factory):
    """The results of three processes, and the store that they wrote to."""
    folder = tmp_path_factory.mktemp("several")
    (folder / "program.py").write_text(PROGRAM)
    environment = {**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=3"]
    done = subprocess.run(
        [*command, "program.py", str(folder)], cwd=folder, env=environment, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stderr
    return folder, [json.loads((folder / f"{rank}.json").read_text()) for rank in range(3)]


@pytest.fixture(scope="module")
def single(tmp_path_factory):
    """The same cases in this process."""
    folder = tmp_path_factory.mktemp("single")
    (folder / "program.py").write_text(PROGRAM)
    code = (
        "import json, sys, torch; torch.set_num_threads(1); from program import cases; "
        "print(json.dumps({name: call() for name, call in cases()}))"
    )
    environment = {**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def _but_the_run(found: Any) -> Any:
    """What an evaluation is that is logged, whatever run it is logged to."""
    return {**found, "run_id": None} if isinstance(found, dict) and "run_id" in found else found


def test_three_processes_give_what_one_gives(several, single):
    """Scores, labels, loss, digest and every metric, whatever the sampler pads: on every rank."""
    for found in several[1]:
        for name, expected in single.items():
            assert _but_the_run(found[name]) == _but_the_run(expected), name


def test_what_fails_on_one_process_ends_all_of_them(several):
    """Each with one line; nobody waits for who has given up."""
    ranks = [found["errors"] for found in several[1]]
    for found in ranks:
        assert "is empty: there is nothing to evaluate" in found["empty"]
        assert "sample 100 is nan in column 2" in found["nan"]
        assert "label 100 is 7" in found["label"] or "RankFailed: rank 2 of 3 failed" in found["label"]
        assert "cannot be shared between processes" in found["iterable"]
    assert [found["one fails"].split(":")[0] for found in ranks] == ["RankFailed", "RankFailed", "BadInput"]
    assert "rank 2 of 3 failed; its own output says why" in ranks[0]["one fails"]


def test_one_process_alone_writes_to_mlflow(several):
    """One finished run for each evaluation, shared or not, one failed run for the one that failed."""
    store = connect(f"sqlite:///{several[0]}/mlflow.db")
    statuses = [run.info.status for run in store.client.search_runs(["0"])]
    assert sorted(statuses) == ["FAILED", "FINISHED", "FINISHED"]
    assert len({found["alone"] for found in several[1]}) == 1


@pytest.mark.parametrize("size", [1, 2, 3, 5, 40])
@pytest.mark.parametrize(
    "source",
    [(X, Y), Subset(TensorDataset(torch.cat([X, X]), torch.cat([Y, Y])), range(37)), DataLoader(ITEMS, batch_size=4)],
)
def test_shares_are_whole_batches_and_together_everything(source, size):
    """Each sample in exactly one share, at the number it has in the whole."""
    data = load_data(source, batch_size=4)
    whole = [batch.inputs.tolist() for batch in data.batches()]
    shares = [share(data, rank, size) for rank in range(size)]
    assert [batch.inputs.tolist() for part in shares for batch in part.batches()] == whole
    assert np.concatenate([batch.labels for part in shares for batch in part.batches()]).tolist() == Y.tolist()
    for part in shares:
        first = next(part.batches(), None)
        assert first is None or int(first.inputs[0, 0]) == part.offset


def test_a_bad_label_of_a_share_has_its_number_in_the_whole():
    """Counted over all processes."""
    data = share(load_data(DataLoader([(x, 0.5 if i == 30 else 0) for i, x in enumerate(X)], batch_size=4)), 1, 2)
    with pytest.raises(BadInput, match=r"label 30 is 0\.5"):
        list(data.batches())


@pytest.mark.parametrize("call", [predict, evaluate])
def test_without_a_process_group_there_is_nothing_to_distribute(call, tracking: str, tmp_path: Path):
    """Said before anything is done."""
    with pytest.raises(BadInput, match="needs torch.distributed: call init_process_group first"):
        call(torch.nn.Identity(), (X, Y), distributed=True)

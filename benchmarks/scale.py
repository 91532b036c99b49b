"""What a store of ten thousand runs, and a board of a thousand ranks, cost.

docs/scale.md computes with these numbers. The runs are made by copying rows of real ones inside the database; what is
timed is then asked through MLflow's client, as the library asks it, of the database itself (without a server between).

    python benchmarks/scale.py [--runs 10000] [--ranks 1024] [--postgres]
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")

import sqlalchemy
import torch
from torch import distributed as dist
from torch import nn

import mlflow_pt_eval as mpe
from mlflow_pt_eval.distributed.alive import Others
from mlflow_pt_eval.distributed.board import Board
from mlflow_pt_eval.promotion import versions
from mlflow_pt_eval.state import capture_rng, tree_bytes
from mlflow_pt_eval.tracking import attempts
from mlflow_pt_eval.tracking.store import connect

NAME, DATA = "counted", (torch.randn(256, 16), torch.arange(256) % 4)
TABLES = ("runs", "params", "metrics", "latest_metrics", "tags")
NUMBERS = {  # how a database counts, and writes a number as a run's id
    "sqlite": (
        "WITH RECURSIVE n(i) AS (VALUES(:low) UNION ALL SELECT i + 1 FROM n WHERE i < :high) ",
        "printf('%032x', i)",
    ),
    "postgresql": (
        "WITH n AS (SELECT generate_series(CAST(:low AS int), CAST(:high AS int)) AS i) ",
        "lpad(to_hex(i), 32, '0')",
    ),
}


def train(seed: int) -> str:
    """Train, register and evaluate a small model: a training run and an evaluation run; return the first's id."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4))
    optimizer = torch.optim.Adam(model.parameters())
    best = mpe.RegisterBest(NAME, input_example=DATA[0][:2])
    state = {"model": model, "optimizer": optimizer}
    with mpe.TrainingRun(state, callbacks=[best], run_name="nightly", progress=False) as run:
        for epoch in run.epochs(5):
            for _ in range(10):
                loss = nn.functional.cross_entropy(model(DATA[0]), DATA[1])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                run.log_step(train_loss=loss)
            run.log(val_accuracy=epoch / 10)
    mpe.evaluate(f"models:/{NAME}/{run.registered_version}", DATA)
    return run.run_id


def multiply(uri: str, low: int, high: int) -> None:
    """Copy all rows of the runs that are there, under new ids: in turn of each, until there are *high*."""
    engine = sqlalchemy.create_engine(uri)
    begin, identity = NUMBERS[engine.dialect.name]
    with engine.begin() as connection:
        ids = connection.execute(sqlalchemy.text("SELECT run_uuid FROM runs WHERE run_uuid NOT LIKE '000000%'"))
        sources = list(ids.scalars())
        for table in TABLES:
            columns = [column["name"] for column in sqlalchemy.inspect(connection).get_columns(table)]
            values = ", ".join(identity if column == "run_uuid" else f"t.{column}" for column in columns)
            for turn, source in enumerate(sources):
                statement = (
                    f"INSERT INTO {table} ({', '.join(columns)}) {begin}SELECT {values} FROM n, {table} t "
                    f"WHERE t.run_uuid = :source AND i % {len(sources)} = {turn}"
                )
                connection.execute(sqlalchemy.text(statement), {"low": low, "high": high - 1, "source": source})
        # Copied evaluations are of other versions; one run in 256 is still at work.
        for statement in (
            "UPDATE tags SET value = 'models:/other/' || substr(run_uuid, 25) "
            "WHERE key = 'pt_eval.model_uri' AND run_uuid LIKE '000000%'",
            "UPDATE runs SET status = 'RUNNING' WHERE run_uuid LIKE '000000%00'",
        ):
            connection.execute(sqlalchemy.text(statement))
    engine.dispose()


def timed(what: str, work: Callable[[], object], repeats: int = 3) -> None:
    """Print the median time of a piece of work."""
    took = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        took.append(time.perf_counter() - start)
    print(f"    {statistics.median(took) * 1e3:9.1f} ms  {what}", flush=True)


def ask(run_id: str) -> None:
    """Time what depends on how many runs there are."""
    store = connect()
    experiment = store.experiment_id()
    timed("whose process is gone, at each start", lambda: attempts.mark_dead(store, experiment))
    query = "attributes.run_name = 'nightly' AND tags.`pt_eval.resumable` = 'true'"
    newest = ["attributes.start_time DESC"]
    timed('resume="auto"', lambda: store.client.search_runs([experiment], query, order_by=newest, max_results=1))
    timed("get_run", lambda: store.client.get_run(run_id))
    timed("compare, two versions", lambda: mpe.compare(NAME))
    timed("promote, a dry run", lambda: mpe.promote(NAME, 2, dry_run=True))
    timed("versions", lambda: versions(NAME))
    timed("the UI's page of 100 runs", lambda: store.client.search_runs([experiment], max_results=100))
    timed("log_batch of 1,000 new points", lambda: log(store.client, run_id))


def log(client: object, run_id: str) -> None:
    """Log a thousand points at steps that were never logged."""
    from mlflow.entities import Metric

    first = time.time_ns() // 1_000_000
    client.log_batch(run_id, metrics=[Metric("many", 1.0, first, first + step) for step in range(1000)])


def measure_store(uri: str, runs: int) -> None:
    """Fill the store in two steps, and ask at each."""
    os.environ["MLFLOW_TRACKING_URI"] = uri
    ids = [train(seed) for seed in range(2)]
    mpe.promote(NAME, 1)
    low = 0
    for high in (100, runs):
        start = time.perf_counter()
        multiply(uri, low, high)
        low = high
        print(f"{uri.partition(':')[0]}, {high} runs (copied in {time.perf_counter() - start:.1f} s)", flush=True)
        ask(ids[0])


def measure_ranks(size: int) -> None:
    """Time what rank 0 does with what *size* ranks have put up, in a store of torch.distributed on this machine."""
    address = ("127.0.0.1", 0, None, True, timedelta(seconds=60))
    server = dist.TCPStore(*address)
    board = Board(dist.TCPStore("127.0.0.1", server.port, None, False, timedelta(seconds=60)))
    others = Others(board, 0, size, 60.0)
    said = ["the end of epoch 0", {"logged": {"val_loss": [0.1, 1000], "val_accuracy": [0.9, 1000]}, "last": False}]
    share = tree_bytes({"rng": capture_rng(), "step": 1, "position": {}, "account": {}})
    for rank in range(1, size):
        board.put(f"up/1/{rank}", said)
        board.put_bytes(f"share/{rank}", share)
    print(f"{size} ranks; a share with random states and nothing else: {len(share) / 1e3:.1f} kB")
    timed("one look at the board", lambda: [board.has("up/1/1") for _ in range(1000)], 5)
    print("    (of a thousand: the same number in microseconds is one look)")
    meeting = [(f"up/1/{rank}", rank) for rank in range(1, size)]
    timed("rank 0 collects a meeting", lambda: [board.take(others.expect([key], rank)) for key, rank in meeting])
    timed("rank 0 collects the shares", lambda: [board.take_bytes(f"share/{rank}") for rank in range(1, size)])


@contextlib.contextmanager
def postgres() -> Iterator[str]:
    """Run the PostgreSQL that the tests run."""
    sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
    from services import database

    with database() as uri:
        yield uri.replace("postgresql://", "postgresql+psycopg://")


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--ranks", type=int, default=1024)
    parser.add_argument("--postgres", action="store_true", help="in the tests' embedded PostgreSQL instead of SQLite")
    args = parser.parse_args()
    measure_ranks(args.ranks)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        with postgres() if args.postgres else contextlib.nullcontext(f"sqlite:///{folder}/mlflow.db") as uri:
            measure_store(uri, args.runs)
        os.chdir("/")


if __name__ == "__main__":
    main()

"""What is lost when a training is killed, cut off and damaged hundreds of times: nothing, or it is counted here.

Trainings on a real `mlflow server` (SQLite, proxied artifacts), one after the other until the time is up. Each is
started again with resume="auto" or its run id until it is finished: killed at random moments, inside writes of
checkpoints and inside uploads; asked to end by signals; the server hung up on, answering 503, cut off, slow, killed and
restarted; files of checkpoints, stored and staged, flipped, cut and deleted (never all that are left). Then its last
checkpoint (weights, optimizer, random states), its history and each stored point are compared, to the bit, with a
training that nobody disturbed. Exit status 1 if anything was lost or differs.

    python benchmarks/soak.py --minutes 30
    python benchmarks/soak.py --rounds 100 --seed 7
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))  # the training, the proxy and the damages are the tests'
from proxy import Proxy, proxied
from servers import _await_health, _command, _environment, free_port
from soak_damage import damage_staged, damage_stored
from soak_launch import Child, Zygote, start_fresh, zygote
from soak_training import ERROR_FILE, LOG_FILE, RUN_ID_FILE, Spec
from soak_verdict import Losses, Outcome, losses

LONGEST = 150.0  # seconds after which a training hangs, whatever was done to it
KINDS = {
    "kill -9": 30,
    "kill -9 in a write": 16,
    "kill -9 in an upload": 10,
    "SIGTERM": 7,
    "SIGINT": 5,
    "SIGUSR1": 3,
    "two signals": 4,
    "server hangs up": 6,
    "server says 503": 6,
    "uploads are cut": 6,
    "server is slow": 4,
    "server killed": 2,
    "server killed in an upload": 2,
    "server stopped": 1,
}
MODES = {"server hangs up": "away", "server says 503": "busy", "uploads are cut": "cut", "server is slow": "slow"}


class Server:
    """An `mlflow server` that can be killed and started again, on the same port and database."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.uri = folder, f"http://127.0.0.1:{free_port()}"
        folder.mkdir()
        self.start()

    def start(self) -> None:
        """Start it and wait until it answers."""
        log = self.folder / "log"
        with log.open("ab") as output:
            options = {"cwd": self.folder, "stdout": output, "stderr": output, "start_new_session": True}
            self.process = subprocess.Popen(_command(self.uri), env=_environment(), **options)
        _await_health(self.process, f"{self.uri}/health", log)

    def end(self, signum: int) -> None:
        """Send the server and its workers a signal and wait for their end."""
        os.killpg(self.process.pid, signum)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


@dataclass
class Training:
    """One training: how it is started, the run that it works in, what was damaged so far."""

    spec: Spec
    run_id: str | None = None
    starts: int = 0
    marked: set[Path] = field(default_factory=set)


@dataclass
class Tally:
    """What was done, and what came of it."""

    faults: Counter[str] = field(default_factory=Counter)
    ends: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    starts: int = 0
    trainings: int = 0
    points: int = 0
    losses: Losses = field(default_factory=Losses)


class Soak:
    """Disturbs trainings, one at a time."""

    def __init__(self, folder: Path, server: Server, proxy: Proxy, parent: Zygote, rng: random.Random) -> None:
        self.folder, self.server, self.proxy, self.zygote, self.rng = folder, server, proxy, parent, rng
        self.tally = Tally()
        self._references: dict[int, Outcome] = {}

    def training(self, seed: int) -> Training:
        """Choose the next training; its undisturbed twin is run now if there is none yet."""
        workers = 1 if self.rng.random() < 0.2 else 0
        if workers not in self._references:
            self._references[workers] = self._undisturbed(workers)
        folder = self.folder / f"training{self.tally.trainings}"
        folder.mkdir()
        busy, pace = self.rng.choice(["wait", "skip"]), self.rng.choice([0.0, 0.005, 0.02])
        name = f"soak-{seed}-{self.tally.trainings}"
        return Training(Spec(str(folder), self.proxy.uri, name, workers=workers, when_busy=busy, pace=pace))

    def _undisturbed(self, workers: int) -> Outcome:
        folder = self.folder / f"whole{workers}"
        folder.mkdir()
        uri = f"sqlite:///{folder}/mlflow.db"
        code = self.zygote.start(Spec(str(folder), uri, "whole", workers=workers)).wait(LONGEST)
        if code != 0:
            raise RuntimeError(f"the undisturbed training ended with {code}: {(folder / LOG_FILE).read_text()}")
        return Outcome.of(uri, (folder / RUN_ID_FILE).read_text())

    def attempt(self, training: Training, kind: str | None) -> bool:
        """Start the training, disturb it in one way (None: not at all), wait for its end; say whether it is done."""
        spec, fresh = training.spec, self.rng.random() < 0.05
        if training.run_id is not None and self.rng.random() < 0.5:
            spec = replace(spec, resume=training.run_id)
        if kind == "kill -9 in a write":
            spec = replace(spec, die_at_write=self.rng.randrange(1, 60))
        folder = Path(spec.folder)
        (folder / ERROR_FILE).unlink(missing_ok=True)
        self.tally.starts += 1
        training.starts += 1
        child = start_fresh(spec) if fresh else self.zygote.start(spec)
        if kind is not None:
            self.disturb(child, kind, 4.0 if fresh else 0.0)
        code = child.wait(LONGEST)
        if code is None:
            self.fail(training, f"{kind}: still at work after {LONGEST:g} s")
            child.send(signal.SIGKILL)
            code = child.wait(20)
        self._note(training, kind, code)
        return code == 0

    def disturb(self, child: Child, kind: str, later: float) -> None:
        """Do one thing to a training that has just been started; its imports take until *later*."""
        self.tally.faults[kind] += 1
        at = later + self.rng.uniform(0.0, 2.5)
        if kind == "kill -9 in an upload":
            with self.at_upload(lambda: child.send(signal.SIGKILL)):
                child.wait(LONGEST)
        elif kind == "kill -9":
            child.wait(at)
            child.send(signal.SIGKILL)
        elif kind in ("SIGTERM", "SIGINT", "SIGUSR1"):
            child.wait(at)
            child.send(signal.Signals[kind])
        elif kind == "two signals":
            child.wait(at)
            child.send(signal.SIGTERM)
            child.wait(self.rng.uniform(0.0, 0.2))
            child.send(signal.SIGINT)
        elif kind in MODES:
            self._unsettled(child, MODES[kind], at)
        elif kind.startswith("server"):
            self._without_server(child, kind, at)

    def _unsettled(self, child: Child, mode: str, at: float) -> None:
        """Disturb the way to the server for a while; half of the time, the training is killed meanwhile."""
        child.wait(at)
        self.proxy.mode = mode
        child.wait(self.rng.uniform(0.1, 4.0))
        if self.rng.random() < 0.5:
            child.send(signal.SIGKILL)
            child.wait(20)
        self.proxy.mode = "open"

    def _without_server(self, child: Child, kind: str, at: float) -> None:
        """End the server and start it again; half of the time, the training is killed meanwhile."""
        signum = signal.SIGTERM if kind == "server stopped" else signal.SIGKILL
        if kind == "server killed in an upload":
            with self.at_upload(lambda: os.killpg(self.server.process.pid, signum)) as happened:
                while child.wait(0.02) is None and not happened.is_set():
                    pass
        else:
            child.wait(at)
        self.server.end(signum)
        if self.rng.random() < 0.5:
            child.wait(self.rng.uniform(0.0, 2.0))
            child.send(signal.SIGKILL)
        self.server.start()

    @contextmanager
    def at_upload(self, act: Callable[[], None]) -> Iterator[threading.Event]:
        """Act once, at a random one of the next uploads."""
        left, happened = [self.rng.randrange(1, 30)], threading.Event()

        def count() -> None:
            left[0] -= 1
            if left[0] == 0:
                act()
                happened.set()

        self.proxy.on_upload = count
        try:
            yield happened
        finally:
            self.proxy.on_upload = None

    def _note(self, training: Training, kind: str | None, code: int | None) -> None:
        """Take down how a start ended; an error that nothing explains is a failure."""
        folder = Path(training.spec.folder)
        error = (folder / ERROR_FILE).read_text() if (folder / ERROR_FILE).exists() else ""
        self.tally.ends[error.partition(":")[0] if code == 1 else str(code)] += 1
        signals = ("SIGTERM", "SIGINT", "SIGUSR1", "two signals")
        away = kind is not None and (kind in MODES or kind.startswith("server"))
        explained = {
            0: True,
            1: (away and error.startswith("StoreUnavailable")) or (kind in signals and "KeyboardInterrupt" in error),
            -signal.SIGKILL: kind is not None and (kind.startswith("kill") or away),
        }
        if not explained.get(code, kind in signals):
            self.fail(training, f"{kind}: ended with {code}, {error or 'without an error'}")
        run_id = (folder / RUN_ID_FILE).read_text() if (folder / RUN_ID_FILE).exists() else None
        if training.run_id not in (None, run_id) and any(self.stored(str(training.run_id)).glob("*/manifest.json")):
            self.fail(training, f"{kind}: {training.run_id} has checkpoints, but {run_id} was begun")
        training.run_id = run_id

    def stored(self, run_id: str) -> Path:
        """Return the folder in which the server keeps a run's checkpoints."""
        return self.server.folder / "mlartifacts" / "0" / run_id / "artifacts" / "checkpoints"

    def damage(self, training: Training) -> None:
        """Damage a file of the training, stored or staged, where another checkpoint is left."""
        if training.run_id is None:
            return
        stored = self.stored(training.run_id)
        done = None
        if self.rng.random() < 0.4 and any(stored.glob("*/manifest.json")):
            done = damage_staged(Path(training.spec.folder, ".mlflow_pt_eval", training.run_id), self.rng)
        done = done or damage_stored(stored, training.marked, self.rng)
        if done is not None:
            self.tally.faults[done] += 1

    def judge(self, training: Training) -> None:
        """Compare a finished training with its undisturbed twin."""
        expected = self._references[training.spec.workers]
        found = losses(expected, Outcome.of(self.server.uri, str(training.run_id)))
        if Path(training.spec.folder, ".mlflow_pt_eval", str(training.run_id)).exists():
            found.other.append("something is left in staging")
        total = self.tally.losses
        total.lost, total.doubled = total.lost + found.lost, total.doubled + found.doubled
        total.changed, total.bits = total.changed + found.changed, total.bits + found.bits
        if found.any:
            self.fail(training, str(found))
        self.tally.trainings += 1
        self.tally.points += len(expected.series)
        faults, wrong = self.tally.faults.total(), len(self.tally.failures)
        print(
            f"training {self.tally.trainings}: finished after {training.starts} starts; "
            f"{faults} faults so far, {wrong} of them with a loss",
            flush=True,
        )

    def fail(self, training: Training, what: str) -> None:
        """Take down a failure, and where its log is."""
        line = f"{training.spec.name} (start {training.starts}, run {training.run_id}): {what}"
        print(f"  !! {line}; see {training.spec.folder}/{LOG_FILE}", flush=True)
        self.tally.failures.append(line)

    def run(self, goes_on: Callable[[Tally], bool], seed: int) -> None:
        """Disturb trainings as long as *goes_on* says; the last one is left in peace then, and judged."""
        while goes_on(self.tally):
            training, done = self.training(seed), False
            while not done:
                kind = self.rng.choices(list(KINDS), list(KINDS.values()))[0] if goes_on(self.tally) else None
                done = self.attempt(training, kind)
                if not done and self.rng.random() < 0.35:
                    self.damage(training)
            self.judge(training)


def table(tally: Tally, seconds: float) -> str:
    """Return the final figures."""
    lost = tally.losses
    rows = [f"{count:6}  {kind}" for kind, count in sorted(tally.faults.items(), key=lambda item: -item[1])]
    return "\n".join(
        [
            f"{tally.faults.total()} faults in {tally.trainings} trainings ({tally.starts} starts), {seconds:.0f} s:",
            *rows,
            f"how the starts ended: {', '.join(f'{end}: {count}' for end, count in tally.ends.most_common())}",
            f"of {tally.points} metric points: {lost.lost} lost, {lost.doubled} doubled, {lost.changed} changed",
            f"differing bits of weights, optimizers, random states and histories: {lost.bits}",
            f"failures: {len(tally.failures)}",
            *(f"  {line}" for line in tally.failures),
        ]
    )


def main() -> int:
    """Read the options, disturb, count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--rounds", type=int, help="so many faults rather than a time")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="an empty folder for everything, kept for a look afterwards")
    args = parser.parse_args()
    started = time.monotonic()

    def goes_on(tally: Tally) -> bool:
        if args.rounds is not None:
            return tally.faults.total() < args.rounds
        return time.monotonic() - started < 60 * args.minutes

    with ExitStack() as stack:
        folder = args.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = Server(folder / "server")
        stack.callback(lambda: server.end(signal.SIGKILL))
        proxy, parent = stack.enter_context(proxied(server.uri)), stack.enter_context(zygote())
        soak = Soak(folder, server, proxy, parent, random.Random(args.seed))
        soak.run(goes_on, args.seed)
        print(table(soak.tally, time.monotonic() - started))
        return 1 if soak.tally.failures else 0


if __name__ == "__main__":
    sys.exit(main())

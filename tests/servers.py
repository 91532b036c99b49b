"""A real `mlflow server` for the tests that must hold over HTTP too."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

_START_SECONDS = 120


def free_port() -> int:
    """Return a port of the loopback interface that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def tracking_server(folder: Path, *options: str, environment: Mapping[str, str] | None = None) -> Iterator[str]:
    """Run a server in *folder*, without *options* on SQLite; give its URI, and end it and all of its children."""
    folder.mkdir(parents=True, exist_ok=True)
    uri = f"http://127.0.0.1:{free_port()}"
    with running(_command(uri, *options), f"{uri}/health", folder, {**_environment(), **(environment or {})}):
        yield uri


@contextmanager
def running(command: list[str], health: str, folder: Path, environment: dict[str, str]) -> Iterator[None]:
    """Run a server in *folder* from when the URL *health* answers; end it and all of its children."""
    log = folder / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # a process group of its own, so that its workers end with it
        )
        try:
            _await_health(process, health, log)
            yield
        finally:
            _end(process)


def _command(uri: str, *options: str) -> list[str]:
    mlflow = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", uri.rpartition(":")[2]]
    return [*mlflow, "--workers", "1", *(options or ("--backend-store-uri", "sqlite:///server.db"))]


def _environment() -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")}
    # uvicorn must be found beside the interpreter, also where its environment is not activated.
    path = f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', '')}"
    quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    return {**kept, **quiet, "PATH": path, "OMP_NUM_THREADS": "1"}


def _await_health(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=2) as answer:
                if answer.status == 200:
                    return
        except OSError:
            time.sleep(0.1)  # another process's start has no clock that could be injected
    raise RuntimeError(f"the server did not start:\n{log.read_text(errors='replace')[-4000:]}")


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is not None:  # it did not start, and its error says why
        return
    os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(20)

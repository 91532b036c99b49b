"""The README is true: its Python runs as it stands, and so does every command."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import mlflow
import pytest

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    """The README's code blocks of one language, in order."""
    return re.findall(rf"```{language}\n(.*?)```", TEXT, flags=re.DOTALL)


def commands() -> list[str]:
    """Every command of the README, but those that install: `.ci/run` runs these."""
    lines = [line for block in blocks("bash") for line in block.splitlines() if line and not line.startswith("#")]
    return [line for line in lines if "pip install" not in line]


def test_the_python_blocks_run_in_order(tmp_path):
    """One after another, as a reader would paste them."""
    blank = tmp_path / "paste.py"
    blank.write_text("\n".join(blocks("python")), encoding="utf-8")
    environment = {**os.environ, "MLFLOW_TRACKING_URI": mlflow.get_tracking_uri()}
    done = subprocess.run([sys.executable, "paste.py"], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mlartifacts", "mlflow.db", "paste.py"]


@pytest.mark.slow
def test_the_commands_run_in_order(tmp_path):
    """From the main entry point on, in a copy of the checkout, with a store of its own."""
    checkout = tmp_path / "checkout"
    shutil.copytree(ROOT / "projects", checkout / "projects", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("MLproject", "conda.yaml", "mlflow_pt_eval"):
        (checkout / name).symlink_to(ROOT / name)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {key: value for key, value in os.environ.items() if key != "MLFLOW_TRACKING_URI"} | {"PATH": path}
    first = "mlflow run . --env-manager local -P epochs=6"
    assert "mlflow run . --env-manager local" in TEXT
    for command in [first, *commands()]:
        words = shlex.split(command)
        done = subprocess.run(words, cwd=checkout, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"


def test_its_figures_exist():
    """No dead picture."""
    for image in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", TEXT):
        assert (ROOT / image).is_file(), image

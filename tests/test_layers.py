"""The house rules that an import can break: layers, doors, and a light front door."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "mlflow_pt_eval"

# Lower layers never import higher ones; within a layer, L1 rooms below `files` may use each other.
LAYERS = {
    0: {"errors", "names", "records", "signals", "forks", "redaction", "wording", "ledger", "processes", "class_names"},
    1: {
        *(
            "policies",
            "gates",
            "decisions",
            "files",
            "writer",
            "state",
            "predict",
            "data",
            "metrics",
            "figures",
            "report",
        ),
        *("validation", "exporting", "distributed", "downloads"),
    },
    2: {"tracking"},
    3: {
        *("training", "registration", "evaluation", "comparison", "promotion", "adoption", "checkpoints", "syncing"),
        *("verification", "mlflow_evaluator"),
    },
    4: {"cli"},
    5: {"__init__", "__main__"},
}
# L3 rooms meet through artifacts, not calls; these calls are the exceptions.
CALLS = {
    ("training", "registration"),  # RegisterBest registers
    ("verification", "training"),  # it proves a training
    ("comparison", "evaluation"),  # it runs evaluations that are missing
    ("mlflow_evaluator", "evaluation"),  # the same, called by MLflow
    ("adoption", "registration"),  # adopted files become versions
}
# Who may import which giant, besides the function bodies of the command line.
DOORS = {
    "mlflow": {"tracking", "mlflow_evaluator"},
    "sklearn": {"metrics"},
    "matplotlib": {"figures"},
    "torch": {
        *("state", "predict", "data", "validation", "exporting", "distributed"),
        *("tracking", "registration", "adoption", "evaluation", "training", "mlflow_evaluator"),
    },
}


def rooms() -> list[tuple[str, Path]]:
    """Every module with the room, the top-level name in the package, that it belongs to."""
    return [(path.relative_to(PACKAGE).parts[0].removesuffix(".py"), path) for path in sorted(PACKAGE.rglob("*.py"))]


def imported(path: Path) -> list[str]:
    """Every module name imported at run time: not under TYPE_CHECKING."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    hidden = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and "TYPE_CHECKING" in ast.unparse(block.test)
        for node in ast.walk(block)
    }
    names = []
    for node in ast.walk(tree):
        if id(node) in hidden:
            continue
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


def layer(room: str) -> int:
    """The layer that a room stands in."""
    (found,) = [number for number, members in LAYERS.items() if room in members]
    return found


def test_every_room_has_a_layer():
    """A new room is given its place here."""
    assert {room for room, _ in rooms() if room != "py"} <= set().union(*LAYERS.values())


def test_no_room_imports_a_higher_one():
    """Strict layers, no circles; L3 rooms call each other only where it says so."""
    wrong = []
    for room, path in rooms():
        for name in imported(path):
            parts = name.split(".")
            if parts[0] != "mlflow_pt_eval" or len(parts) < 2 or parts[1] == room or parts[1] == "__version__":
                continue
            other = parts[1]
            below = layer(other) < layer(room) or (layer(other) == layer(room) and layer(room) < 2)
            if not below and (room, other) not in CALLS:
                wrong.append(f"{path.relative_to(PACKAGE)} imports {name}")
    assert wrong == []


@pytest.mark.parametrize("giant", sorted(DOORS))
def test_giants_come_in_by_their_doors(giant):
    """MLflow, scikit-learn, matplotlib and torch are each imported by few rooms."""
    users = {room for room, path in rooms() if any(name.split(".")[0] == giant for name in imported(path))}
    assert users <= DOORS[giant] | {"cli"}


def test_importing_the_package_imports_no_giant():
    """`import mlflow_pt_eval` and `--help` cost nothing."""
    code = "import sys, mlflow_pt_eval, mlflow_pt_eval.cli as c; c.build_parser(); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert {"torch", "mlflow", "sklearn", "matplotlib", "pandas", "numpy"}.isdisjoint(loaded)


def test_every_public_name_can_be_imported_and_has_a_docstring():
    """What `__all__` promises is there."""
    import mlflow_pt_eval

    for name in mlflow_pt_eval.__all__:
        assert (getattr(mlflow_pt_eval, name).__doc__ or "").strip(), name
    assert set(mlflow_pt_eval.__all__) == set(mlflow_pt_eval._HOMES)

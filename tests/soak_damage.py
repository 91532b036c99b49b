"""Damaging a training's files between two starts: a flipped byte, a cut end, a deletion."""

from __future__ import annotations

import hashlib
import json
import random
from pathlib import Path

KINDS = ("flipped", "cut", "deleted")


def is_whole(checkpoint: Path) -> bool:
    """Say whether a stored checkpoint's files are those that its manifest describes."""
    try:
        manifest = json.loads((checkpoint / "manifest.json").read_text())
        return all(
            hashlib.sha256((checkpoint / file).read_bytes()).hexdigest() == entry["sha256"]
            for file, entry in manifest["files"].items()
        )
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return False


def damage(path: Path, kind: str, rng: random.Random) -> None:
    """Damage one file."""
    data = bytearray(path.read_bytes())
    if kind == "deleted" or not data:
        path.unlink()
    elif kind == "cut":
        path.write_bytes(data[: rng.randrange(len(data))])
    else:
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        path.write_bytes(data)


def damage_stored(checkpoints: Path, marked: set[Path], rng: random.Random) -> str | None:
    """Damage a file of a stored checkpoint while another one stays whole; return what was done, if anything was.

    *marked*: those damaged before, since not every damage shows in the files themselves.
    """
    whole = [path for path in sorted(checkpoints.glob("epoch=*")) if is_whole(path) and path not in marked]
    if len(whole) < 2:
        return None
    # Mostly the newest, which is the one that a resume takes first.
    chosen = whole[-1] if rng.random() < 0.7 else rng.choice(whole)
    file, kind = rng.choice(sorted(chosen.iterdir())), rng.choice(KINDS)
    damage(file, kind, rng)
    marked.add(chosen)
    return f"stored {file.name} {kind}"


def damage_staged(staging: Path, rng: random.Random) -> str | None:
    """Damage one of the files that wait in staging; return what was done, if anything was there."""
    files = [path for path in sorted(staging.rglob("*")) if path.is_file() and path.name != "lock"]
    if not files:
        return None
    file, kind = rng.choice(files), rng.choice(KINDS)
    # Only a file within a staged checkpoint is missed when it is gone; the others leave no trace.
    if kind == "deleted" and file.parent == staging:
        kind = "cut"
    damage(file, kind, rng)
    return f"staged {file.name} {kind}"

"""What the kernel knows of processes: whether one that was noted earlier still runs, and what this one handles."""

from __future__ import annotations

from pathlib import Path


def process_start(pid: int) -> str:
    """Return a process's start time in the kernel's ticks, or '' if it is gone (or a zombie).

    Numbers of processes are used again, start times are not.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] == "Z" else fields[19]


def is_caught(signum: int) -> bool:
    """Say whether this process handles a signal, also where Python does not know of it (as with `faulthandler`)."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return False
    caught = next((line.split()[1] for line in status.splitlines() if line.startswith("SigCgt:")), "0")
    return bool(int(caught, 16) >> (signum - 1) & 1)

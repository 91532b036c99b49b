"""Whether a process that was noted earlier still runs: numbers of processes are used again, start times are not."""

from __future__ import annotations

from pathlib import Path


def process_start(pid: int) -> str:
    """Return a process's start time in the kernel's ticks, or '' if it is gone (or a zombie)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] == "Z" else fields[19]

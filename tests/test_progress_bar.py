"""The progress bar, on a real pseudo-terminal: it is there, it is readable, and it leaves nothing behind."""

from __future__ import annotations

import fcntl
import io
import logging
import os
import pty
import struct
import sys
import termios
import threading

import pytest
from loops import Parts, wrapped

WIDTHS = [120, 40, 0]  # 0: a terminal that does not say how large it is, as under script(1) or in a container


class Terminal:
    """A pseudo-terminal of a width, and what was written to it."""

    def __init__(self, width):
        self._main, side = pty.openpty()
        fcntl.ioctl(side, termios.TIOCSWINSZ, struct.pack("HHHH", 24 if width else 0, width, 0, 0))
        self.file, self._written = os.fdopen(side, "w"), b""
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self):
        try:
            while data := os.read(self._main, 65536):
                self._written += data
        except OSError:  # the other side is closed
            pass

    def written(self):
        """Close it; everything that was written, one text for each time that the line was begun anew."""
        self.file.close()
        self._reader.join()
        os.close(self._main)
        return self._written.decode().replace("\n", "\r").split("\r")


@pytest.mark.parametrize("width", WIDTHS)
def test_the_bar_appears_and_leaves_no_debris(monkeypatch, width):
    """Each epoch has one, no wider than the terminal, and the line that it stood in is empty in the end."""
    terminal = Terminal(width)
    monkeypatch.setattr(sys, "stderr", terminal.file)
    wrapped(Parts(), 2)
    monkeypatch.undo()
    lines = terminal.written()
    for epoch in (0, 1):
        assert any(line.startswith(f"epoch {epoch}:") and "0/8" in line for line in lines)
    assert max(map(len, lines)) <= (width or 80)
    assert lines[-1].strip() == ""
    assert lines[-2].strip() == ""


def test_a_warning_gets_a_line_of_its_own(monkeypatch):
    """It is not written behind the bar, nor is the bar written behind it."""
    terminal = Terminal(100)
    monkeypatch.setattr(sys, "stderr", terminal.file)
    handler, log = logging.StreamHandler(terminal.file), logging.getLogger("mlflow_pt_eval")
    log.addHandler(handler)
    try:
        wrapped(Parts(), 1, before_step=lambda epoch, batch: log.warning("said at batch %d", batch))
    finally:
        log.removeHandler(handler)
        monkeypatch.undo()
    lines = terminal.written()
    assert [line for line in lines if "said" in line] == [f"said at batch {batch}" for batch in range(8)]


def test_a_log_file_gets_no_bar_unless_it_is_asked_for(monkeypatch):
    """There it would be thousands of lines."""
    for progress, expected in (("auto", False), (True, True), (False, False)):
        file = io.StringIO()
        monkeypatch.setattr(sys, "stderr", file)
        wrapped(Parts(), 1, progress=progress)
        monkeypatch.undo()
        assert ("epoch 0:" in file.getvalue()) is expected

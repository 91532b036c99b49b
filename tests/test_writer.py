"""The writer: one job in flight, the newest wins, failures come back, an outage is waited out."""

from __future__ import annotations

import threading

import pytest

from mlflow_pt_eval.errors import StoreUnavailable
from mlflow_pt_eval.writer import Job, Writer


class Pump:
    """A pump that is away as often as it is told."""

    def __init__(self, failures: int = 0, error: type[BaseException] = StoreUnavailable) -> None:
        self.calls, self.failures, self.error = 0, failures, error

    def __call__(self) -> None:
        self.calls += 1
        if self.calls <= self.failures:
            raise self.error(f"call {self.calls}")


@pytest.fixture
def gate():
    """A job that runs until it is let go."""
    return threading.Event()


def busy_writer(gate, pump=None):
    """A writer whose thread is held in a job."""
    writer, begun = Writer(pump or Pump(), interval=0.01), threading.Event()

    def hold() -> None:
        begun.set()
        gate.wait(30)

    writer.submit(Job("held", hold))
    assert begun.wait(30)
    return writer


def test_a_job_in_flight_is_never_overwritten(gate):
    """Its buffer is in use, so there is no room until it is done."""
    writer = busy_writer(gate)
    assert writer.make_room(wait=False) == (False, None)
    gate.set()
    assert writer.make_room(wait=True) == (True, None)
    writer.close()


def test_the_newest_replaces_what_has_not_begun(gate):
    """One at hand, never a queue: the older of two waiting checkpoints is dropped, and its name is told."""
    writer, written = busy_writer(gate), []
    gate.set()
    assert writer.make_room(wait=True) == (True, None)
    with writer._changed:  # hold the saving thread off, so that the job stays queued
        writer.submit(Job("older", lambda: written.append("older")))
        assert writer.make_room(wait=False) == (True, "older")
        writer.submit(Job("newer", lambda: written.append("newer"), pinned=True))
        assert writer.make_room(wait=False) == (False, None)
    assert writer.drain(30)
    assert written == ["newer"]
    writer.close()


def test_a_pump_that_hangs_does_not_hold_up_saving(gate):
    """A slow upload must not keep the next checkpoint from the disk."""
    begun, saved = threading.Event(), []

    def slow() -> None:
        begun.set()
        gate.wait(30)

    writer = Writer(slow, interval=0.01)
    assert begun.wait(30)
    writer.submit(Job("a", lambda: saved.append("a")))
    assert writer.make_room(wait=True) == (True, None)
    assert saved == ["a"]
    gate.set()
    writer.close()


def test_a_pinned_job_waits_for_room_and_is_written(gate):
    """What must be saved is saved, whatever is in flight."""
    writer, written = busy_writer(gate), []
    threading.Timer(0.05, gate.set).start()
    assert writer.make_room(wait=True) == (True, None)
    writer.submit(Job("best", lambda: written.append("best"), pinned=True))
    assert writer.drain(30)
    assert written == ["best"]
    writer.close()


def test_a_failure_in_the_background_is_raised_at_the_next_commit():
    """Never only a log line; and once it is told, the writer works on."""

    def fail() -> None:
        raise OSError(28, "No space left on device")

    writer = Writer(Pump(), interval=0.01)
    writer.submit(Job("full", fail))
    writer.drain(30)
    with pytest.raises(OSError, match="No space left"):
        writer.raise_failure()
    writer.raise_failure()
    writer.close()


def test_an_outage_is_tried_again_until_it_is_over():
    """A server that is away is no failure: the pump runs until it gets through."""
    pump = Pump(failures=3)
    writer = Writer(pump, interval=0.01)
    assert writer.drain(30)
    assert pump.calls == 4
    assert writer.outage is None
    writer.raise_failure()
    writer.close()


def test_draining_gives_up_in_time_while_the_server_is_away():
    """The end of a training waits for a bounded time."""
    writer = Writer(Pump(failures=10**9), interval=0.01)
    assert writer.drain(0.1) is False
    assert isinstance(writer.outage, StoreUnavailable)
    writer.close()


def test_draining_waits_for_a_server_that_is_slow(gate):
    """Its time counts only while it is away: what takes longer is said, once, and waited for."""
    said = []

    def slow() -> None:
        said.append("slow")
        gate.set()

    writer = Writer(lambda: gate.wait(30), interval=0.01)
    assert writer.drain(0.05, on_slow=slow) is True
    assert said == ["slow"]
    writer.close()
    writer = Writer(Pump(failures=10**9), interval=0.01)
    assert writer.drain(0.1, on_slow=slow) is False
    assert said == ["slow"]
    writer.close()


def test_closing_finishes_the_queued_job(gate):
    """Nothing that was handed over is dropped by an orderly end."""
    writer, written = Writer(Pump(), interval=60), []
    writer.submit(Job("last", lambda: written.append("last")))
    writer.close()
    assert written == ["last"]

"""Metrics on their way to the store."""

from __future__ import annotations

from mlflow_pt_eval.tracking.runs import create_run
from mlflow_pt_eval.tracking.store import connect
from mlflow_pt_eval.tracking.telemetry import Point, Telemetry, stored_points


class WhileTheLoopGoesOn(Telemetry):
    """Sends as ever, while the loop logs another point during each call."""

    calls = 0

    def send(self, points: list[Point]) -> None:
        super().send(points)
        self.calls += 1
        if self.calls <= 5:
            self.append(({"late": 1.0}, self.calls, 0.0))


def test_a_loop_that_keeps_logging_is_sent_what_is_there_and_no_more(tmp_path):
    """Otherwise a loop faster than the server is one endless flush, and no checkpoint behind it is stored."""
    store = connect()
    run_id = create_run(store, {}, "telemetry").run_id
    telemetry = WhileTheLoopGoesOn(store, run_id, tmp_path / "spill")
    for step in range(1500):
        telemetry.append(({"early": 0.5}, step, 0.0))
    telemetry.flush()
    assert telemetry.calls == 2  # a thousand points a call
    assert sorted(point.key for point in stored_points(store, run_id)) == ["early"] * 1500
    telemetry.flush()
    assert telemetry.calls == 3
    assert sorted(p.step for p in stored_points(store, run_id) if p.key == "late") == [1, 2]

"""`verify_resume`: run a script whole, twice; then killed and resumed, point by point; compare everything exactly."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mlflow_pt_eval.errors import BadInput, NotFound
from mlflow_pt_eval.verification import series
from mlflow_pt_eval.verification.points import Course, Stop, choose
from mlflow_pt_eval.verification.reports import Task
from mlflow_pt_eval.verification.series import Logged
from mlflow_pt_eval.verification.verdict import Rehearsed, Verdict
from mlflow_pt_eval.verification.workspace import Ended, Workspace

Say = Callable[[str], object]
_log = logging.getLogger("mlflow_pt_eval")


def verify_resume(
    script: Path | str, args: Sequence[str] = (), *, kills: int = 3, seed: int = 0, say: Say | None = None
) -> Verdict:
    """Prove, or disprove, that *script*'s first `TrainingRun` resumes exactly; the script itself stays as it is.

    It is run as `python script *args` from the working directory, each time in a process and a store of its own in a
    temporary folder (TMPDIR chooses where): twice whole, then ended at *kills* points that *seed* chooses and resumed
    in a new process. It is run up to the end of its first training; nothing is registered. *say* takes each line of
    the account as it comes.

    Errors: NotFound if there is no such file, BadInput if the script fails or opens no `TrainingRun`.
    """
    path = Path(script)
    if not path.is_file():
        raise NotFound(f"there is no script {str(script)!r} (seen from {str(Path.cwd())!r}).")
    if kills < 1:
        raise BadInput(f"verify_resume got kills={kills!r}; it is a number of points, at least 1.")
    with tempfile.TemporaryDirectory(prefix="mlflow_pt_eval-") as folder:
        return Verification(Workspace(Path(folder)), path, tuple(args), say or _silent).run(kills, seed)


@dataclass(frozen=True)
class Ignored:
    """What says nothing about a resume, as it differs between two whole runs and nothing depends on it.

    *generators*: neither seeded nor drawn from. *metrics*: keys whose values come from a clock, perhaps.
    """

    generators: frozenset[str] = frozenset()
    metrics: frozenset[str] = frozenset()

    def without(self, differences: Sequence[str]) -> list[str]:
        """Return the differences that count."""
        return [line for line in differences if line not in self.generators]

    def names(self) -> list[str]:
        """Return all of it, for people."""
        return [*sorted(self.generators), *(f"metric {key}" for key in sorted(self.metrics))]


class Verification:
    """One verification in a workspace."""

    def __init__(self, workspace: Workspace, script: Path, args: Sequence[str], say: Say) -> None:
        self._workspace, self._script, self._args, self._say = workspace, script, tuple(args), say

    def run(self, kills: int, seed: int) -> Verdict:
        """Do all of it; say each result as it is there."""
        self._say(f"{self._script}: its first TrainingRun, up to its end; nothing is registered")
        measure = self._whole(measure=True)
        course, logged = Course.from_json(measure), Logged.from_json(measure)
        verdict = Verdict(
            script=str(self._script),
            args=self._args,
            epochs=len(course.spans),
            steps=course.steps,
            points=logged.count,
            warnings=tuple(_doubts(measure, course)),
        )
        self._say(f"whole: {verdict.epochs} epochs, {verdict.steps} steps, {verdict.points} logged points")
        for line in verdict.warnings:
            _log.warning("%s", line)
        found, ignored = self._compared_with_itself(measure, logged)
        verdict = replace(verdict, differences=found, not_compared=tuple(ignored.names()))
        if verdict.deterministic:
            verdict = replace(verdict, kills=tuple(self._killed(course, logged, ignored, kills, seed)))
        self._say(verdict.summary())
        return verdict

    def _compared_with_itself(self, measure: Mapping[str, Any], logged: Logged) -> tuple[tuple[str, ...], Ignored]:
        """Run the script whole once more; return what differs, and what is to be left out of every comparison."""
        again = self._whole(measure=False)
        idle = frozenset(measure["idle"]) & frozenset(again["idle"]) & frozenset(again["differences"])
        ignored = Ignored()
        if idle == frozenset(again["differences"]):
            # All that has a say in the training is equal, so a value that differs comes from elsewhere: a clock.
            ignored = Ignored(idle, series.unsteady(logged, Logged.from_json(again)))
        found = self._found(again, logged, ignored)
        self._say("whole again: " + ("equal" if not found else f"differs in {found[0]}"))
        if not found and (names := ", ".join(ignored.names())):
            self._say(
                f"left out, since two whole runs differ there and in nothing else (not seeded, or a clock): {names}"
            )
        return found, ignored

    @staticmethod
    def _found(report: Mapping[str, Any], logged: Logged, ignored: Ignored) -> tuple[str, ...]:
        """Return what differs between a rehearsal's end and that of the first whole run."""
        points = series.differences(logged, Logged.from_json(report), values_of_no_use=ignored.metrics)
        return (*ignored.without(report["differences"]), *points)

    def _killed(self, course: Course, logged: Logged, ignored: Ignored, kills: int, seed: int) -> Iterator[Rehearsed]:
        stops = choose(course, kills=kills, seed=seed)
        if len(stops) < kills:
            self._say(f"the training has only {len(stops)} points to be killed at")
        for stop in stops:
            rehearsed = self._ended_and_resumed(stop, logged, ignored)
            for line in rehearsed.lines():
                self._say(line)
            yield rehearsed

    def _whole(self, *, measure: bool) -> dict[str, Any]:
        """Run the script whole; return its report."""
        ended = self._rehearse(Task(measure=measure), fresh=True)
        report = self._workspace.reports.read_ended()
        if report is None:
            raise self._refusal(ended)
        return report

    def _refusal(self, ended: Ended) -> BadInput:
        """Show the last words of a script that does not train to a clean end; return what is wrong with it."""
        if ended.status == 0 and self._workspace.reports.read_opened() is None:
            return BadInput(
                f"{self._script} never opened a TrainingRun (one in another thread or process is not seen): there is "
                "nothing to verify."
            )
        _log.error("%s", ended.tail)
        if ended.status == 0:
            return BadInput(f"{self._script} left its TrainingRun with an error: {ended.last_words}")
        return BadInput(f"{self._script} fails by itself, with status {ended.status}: {ended.last_words}")

    def _ended_and_resumed(self, stop: Stop, logged: Logged, ignored: Ignored) -> Rehearsed:
        reports = self._workspace.reports
        ended, opened = self._rehearse(Task(stop=stop), fresh=True), reports.read_opened()
        if opened is None or not reports.was_stopped() or reports.read_ended() is not None:
            _log.error("%s", ended.tail)
            return Rehearsed(stop, None, (f"how it came there: it ended before, with status {ended.status}",))
        ended = self._rehearse(Task(resume=opened["run_id"]), fresh=False)
        resumed, report = reports.read_opened(), reports.read_ended()
        start = None if resumed is None else resumed["resumed_from"]
        if report is None:
            _log.error("%s", ended.tail)
            failure = f"how it ended: resumed, it fails with status {ended.status}: {ended.last_words}"
            return Rehearsed(stop, start, (failure,))
        return Rehearsed(stop, start, self._found(report, logged, ignored))

    def _rehearse(self, task: Task, *, fresh: bool) -> Ended:
        if fresh:
            self._workspace.clear()
        return self._workspace.rehearse(task, self._script, self._args)


def _doubts(measure: Mapping[str, Any], course: Course) -> Iterator[str]:
    """Say what keeps a resume from being exact in principle, as far as it can be seen."""
    if ends := [span.epoch for span in course.spans if span.end in course.accumulating]:
        yield (
            f"{len(ends)} of {len(course.spans)} epochs end without a step of an optimizer: gradients that are "
            "accumulated over an epoch's end are not part of a checkpoint. Step there, or zero them."
        )
    if measure["keeps_workers"]:
        yield (
            "persistent_workers=True is not exact where the workers draw random numbers. "
            "Use persistent_workers=False if they do."
        )
    if measure["kernels_may_vary"]:
        yield (
            "the training uses CUDA without torch.use_deterministic_algorithms(True): kernels may add in another "
            "order another time, resumed or not."
        )


def _silent(line: str) -> None:
    """Say nothing."""

"""Runs and their steps: the records of a thread's runs.jsonl, where the last line for an id counts."""

import threading
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from jan.errors import ConflictError, FailedPreconditionError, InvalidArgumentError, NotFoundError
from jan.ids import AssistantId, RunId, StepId, ThreadId
from storage_service.store import jsonl, layout, plain
from storage_service.store.batch import KnownRuns
from storage_service.store.forms import fields
from storage_service.store.forms import runs as form
from storage_service.store.jsonl import Segment
from storage_service.store.log import Log, LogCache
from storage_service.store.paging import Page, PageQuery, cut
from storage_service.store.records import JsonObject, Run, RunStatus, RunStep, StepStatus

# Every change of a run is a line, a handful per run. The file is rewritten once most of its lines are history.
_HISTORY_LINES = 64

RecordT = TypeVar("RecordT", Run, RunStep)


class RunLog(Log):
    """The records of one runs.jsonl by id, in order of their first lines, as JSON and as values."""

    def __init__(self, path: Path, quarantine: Path) -> None:
        super().__init__(path, quarantine)
        self.forget()

    def __len__(self) -> int:
        return len(self.raw)

    def forget(self) -> None:
        """See Log."""
        self.raw: dict[str, JsonObject] = {}
        self.runs: dict[RunId, Run] = {}
        self.steps: dict[StepId, RunStep] = {}
        self._lines = 0

    def take(self, segment: Segment, value: JsonObject) -> bool:
        """See Log."""
        record = form.from_json(ThreadId(self.path.parent.name), value)
        if record is None:
            return False
        self._lines += 1
        self.raw[record.id] = value
        if isinstance(record, Run):
            self.runs[record.id] = record
        else:
            self.steps[record.id] = record
        return True

    def put(self, fd: int, *records: Run | RunStep) -> None:
        """Write records, new or changed, inside `open()`; keys of a line that no field stands for are kept.

        One write: a crash leaves the first of them, in order, or all.
        """
        self.append([jsonl.new_line(self._line(record)) for record in records])
        if self._lines > 2 * len(self.raw) + _HISTORY_LINES:
            self._compact(fd)

    def _line(self, record: Run | RunStep) -> JsonObject:
        before = self.runs.get(record.id) if isinstance(record, Run) else self.steps.get(record.id)
        raw = form.to_json(record)
        return raw if before is None else fields.overlay(self.raw[record.id], form.to_json(before), raw)

    def active(self) -> Run | None:
        """The run that holds the thread, if any."""
        return next((run for run in reversed(self.runs.values()) if run.status.is_active), None)

    def _compact(self, fd: int) -> None:
        """Keep the last line of every record, and every line that could not be read."""
        kept = [jsonl.read(fd, segment) + b"\n" for segment in self.unreadable]
        self.replace(kept + [jsonl.encode(value) for value in self.raw.values()])


@dataclass(frozen=True, slots=True)
class ActiveRun:
    """A run that has not ended, as it is known without a look at its file."""

    id: RunId
    thread_id: ThreadId
    assistant_id: AssistantId
    round: int


class Runs:
    """Make, read, list and change runs and steps. One active run per thread, checked and made in one step.

    `folder` gives the folder of a thread that exists, `own_folder` the one to write into.
    """

    def __init__(
        self, folder: Callable[[ThreadId], Path], own_folder: Callable[[ThreadId], Path], quarantine: Path
    ) -> None:
        self._folder = folder
        self._own_folder = own_folder
        self.logs = LogCache(lambda thread_id: RunLog(folder(thread_id) / layout.RUNS_FILE, quarantine))
        self._active: dict[RunId, ActiveRun] = {}
        self._active_lock = threading.Lock()

    def note(self, thread_id: ThreadId) -> bool:
        """Learn of a thread's active runs from its file, if it has one; tells whether there are any."""
        try:
            if not (self._folder(thread_id) / layout.RUNS_FILE).is_file():
                return False
        except (NotFoundError, InvalidArgumentError):  # gone, or a link stands in its place
            return False
        log = self.logs.get(thread_id)
        with log.open():
            self._note_active(log.runs.values())
            return log.active() is not None

    def create(self, run: Run, first: Callable[[], object] = lambda: None) -> Run:
        """Accept a run; `first` is called once it may be, before it is written (to append its messages).

        Durable on return. The id of a run that the thread has answers that run and does nothing.
        Raises NotFoundError: no such thread. StorageFullError. FailedPreconditionError: another run is active, or
        runs.jsonl is no plain file.
        """
        self._own_folder(run.thread_id)
        log = self.logs.get(run.thread_id)
        with log.open() as fd:
            if run.id in log.runs:
                return log.runs[run.id]
            active = log.active()
            if active is not None:
                raise FailedPreconditionError(f"Thread {run.thread_id} already has an active run {active.id}.")
            plain.check(log.path)
            first()
            return self._put(log, fd, replace(run, revision=1))

    def get(self, thread_id: ThreadId, run_id: RunId) -> Run:
        """Read a run. Raises NotFoundError."""
        self._folder(thread_id)
        log = self.logs.get(thread_id)
        with log.open():
            return _run(log, run_id)

    def update(self, run: Run, steps: Sequence[RunStep] = ()) -> Run:
        """Write a run's new record; its `revision` is the one that was read, the answer has the next.

        `steps` of the run are written with it, whether or not they had ended. They stand before the run, so a crash
        in between leaves steps that the same update written again replaces, and never a run without them.
        Durable on return. Raises NotFoundError. ConflictError: somebody wrote in between. FailedPreconditionError:
        the run has ended and the new record says another end, or none. InvalidArgumentError: a step is another run's.
        StorageFullError.
        """
        self._folder(run.thread_id)
        log = self.logs.get(run.thread_id)
        with log.open() as fd:
            stored = _run(log, run.id)
            if stored.revision != run.revision:
                raise ConflictError(f"Run {run.id} is at revision {stored.revision}, not {run.revision}.")
            if not stored.status.is_active and run.status is not stored.status:
                raise FailedPreconditionError(f"Run {run.id} has ended: it is {stored.status}.")
            for step in steps:
                _check_step(log, run.id, step)
            return self._put(log, fd, replace(run, created_ms=stored.created_ms, revision=stored.revision + 1), steps)

    def page(self, thread_id: ThreadId, query: PageQuery) -> Page[Run]:
        """One page of a thread's runs in order of creation. Raises NotFoundError, InvalidArgumentError."""
        self._folder(thread_id)
        log = self.logs.get(thread_id)
        with log.open():
            return _page(list(log.runs.values()), query)

    def all_active(self) -> list[Run]:
        """The runs of all threads that have not ended, oldest first."""
        with self._active_lock:
            known = list(self._active.values())
        found = [run for one in known if (run := self._still_active(one)) is not None]
        return sorted(found, key=lambda run: run.created_ms)

    def answering(self, among: Collection[AssistantId]) -> set[AssistantId]:
        """Those of some assistants that have a run which has not ended."""
        with self._active_lock:
            known = [run for run in self._active.values() if run.assistant_id in among]
        return {run.assistant_id for run in known if self._still_active(run) is not None}

    def active_id(self, thread_id: ThreadId) -> RunId | None:
        """The run that holds a thread, if any."""
        log = self.logs.get(thread_id)
        with log.open():
            active = log.active()
            return active.id if active else None

    def known(self, thread_id: ThreadId) -> KnownRuns:
        """The runs that a thread has, for those who write their answers."""
        log = self.logs.get(thread_id)
        with log.open():
            active = log.active()
            return KnownRuns(active.id if active else None, log.runs.keys())

    def known_active(self, thread_id: ThreadId) -> list[ActiveRun]:
        """The active runs of a thread, as far as it is known without a look at its file."""
        with self._active_lock:
            return [run for run in self._active.values() if run.thread_id == thread_id]

    def end_left_over(self, thread_id: ThreadId, now_ms: int) -> None:
        """End the active run of a thread that comes back from the trash: its job was cancelled long ago."""
        log = self.logs.get(thread_id)
        with log.open() as fd:
            active = log.active()
            if active is not None:
                self._put(log, fd, *_left_over(log, active, now_ms))

    def put_step(self, step: RunStep) -> RunStep:
        """Write a step's record, new or changed. Durable on return.

        Of a step that has ended only the metadata may change: anything else is answered with the stored step, because
        a writer that lost its run may come late.
        Raises NotFoundError: no such thread or run. InvalidArgumentError: the step is another run's.
        """
        self._folder(step.thread_id)
        log = self.logs.get(step.thread_id)
        with log.open() as fd:
            _run(log, step.run_id)
            _check_step(log, step.run_id, step)
            stored = log.steps.get(step.id)
            if stored is not None:
                step = _next_step(stored, step)
            if step == stored:
                return step
            log.put(fd, step)
            return step

    def get_step(self, thread_id: ThreadId, run_id: RunId, step_id: StepId) -> RunStep:
        """Read a step. Raises NotFoundError."""
        for step in self._steps(thread_id, run_id):
            if step.id == step_id:
                return step
        raise NotFoundError(f"No run step found with id '{step_id}'.")

    def page_steps(self, thread_id: ThreadId, run_id: RunId, query: PageQuery) -> Page[RunStep]:
        """One page of a run's steps in order of creation. Raises NotFoundError, InvalidArgumentError."""
        return _page(self._steps(thread_id, run_id), query)

    def forget(self, thread_id: ThreadId) -> None:
        """Forget a thread that was deleted."""
        self.logs.drop(thread_id)
        with self._active_lock:
            self._active = {id_: run for id_, run in self._active.items() if run.thread_id != thread_id}

    def _steps(self, thread_id: ThreadId, run_id: RunId) -> list[RunStep]:
        self._folder(thread_id)
        log = self.logs.get(thread_id)
        with log.open():
            _run(log, run_id)
            return [step for step in log.steps.values() if step.run_id == run_id]

    def _put(self, log: RunLog, fd: int, run: Run, steps: Sequence[RunStep] = ()) -> Run:
        log.put(fd, *steps, run)
        self._note_active([run])
        return run

    def _note_active(self, runs: Iterable[Run]) -> None:
        with self._active_lock:
            for run in runs:
                if run.status.is_active:
                    self._active[run.id] = ActiveRun(run.id, run.thread_id, run.assistant_id, run.round)
                else:
                    self._active.pop(run.id, None)

    def _still_active(self, known: ActiveRun) -> Run | None:
        """The run as its file says now; it or its thread may have gone by hand."""
        try:
            run = self.get(known.thread_id, known.id)
        except NotFoundError:
            return None
        return run if run.status.is_active else None


def end_all(path: Path, quarantine: Path, now_ms: int) -> None:
    """End every run of a runs.jsonl that nobody has read yet, as `Runs.end_left_over` does for one."""
    log = RunLog(path, quarantine)
    with log.open() as fd:
        for run in [run for run in log.runs.values() if run.status.is_active]:
            ended, steps = _left_over(log, run, now_ms)
            log.put(fd, *steps, ended)


def _left_over(log: RunLog, run: Run, now_ms: int) -> tuple[Run, list[RunStep]]:
    """A run that nobody works on any more as cancelled, and its steps that had not ended."""
    ended = replace(
        run, status=RunStatus.CANCELLED, cancelled_ms=now_ms, required_action=None, revision=run.revision + 1
    )
    unended = [s for s in log.steps.values() if s.run_id == run.id and s.status is StepStatus.IN_PROGRESS]
    return ended, [replace(step, status=StepStatus.CANCELLED, cancelled_ms=now_ms) for step in unended]


def _run(log: RunLog, run_id: RunId) -> Run:
    run = log.runs.get(run_id)
    if run is None:
        raise NotFoundError(f"No run found with id '{run_id}'.")
    return run


def _check_step(log: RunLog, run_id: RunId, step: RunStep) -> None:
    stored = log.steps.get(step.id, step)
    if {stored.run_id, step.run_id} != {run_id}:
        raise InvalidArgumentError(f"Step {step.id} belongs to run {stored.run_id}.", param="run_id")


def _next_step(stored: RunStep, step: RunStep) -> RunStep:
    """What a write makes of a stored step."""
    if stored.status is StepStatus.IN_PROGRESS:
        return step
    return replace(stored, metadata=step.metadata) if step.status is stored.status else stored


def _page(records: Sequence[RecordT], query: PageQuery) -> Page[RecordT]:
    index: dict[str, int] = {record.id: position for position, record in enumerate(records)}
    return cut(records, query, index.get)

"""One janroot, opened: the collections, built in the right order on one lock."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Self

from jan.errors import NotFoundError
from jan.ids import AssistantId, ThreadId
from storage_service.store import flat, seed
from storage_service.store.assistants import Assistants
from storage_service.store.census import Census
from storage_service.store.clock import Clock, wall_clock_ms
from storage_service.store.layout import Layout
from storage_service.store.lock import JanrootLock
from storage_service.store.messages import Messages
from storage_service.store.models import Models
from storage_service.store.records import Message, Run, Thread, ThreadAssistant
from storage_service.store.report import whole as report
from storage_service.store.report.findings import Report
from storage_service.store.runs import Runs
from storage_service.store.threads import Threads


class Store:
    """Everything under one janroot. Use `Store.open`, and `close` when done."""

    def __init__(self, where: Layout, lock: JanrootLock, clock: Clock) -> None:
        self._lock = lock
        self.layout = where
        self.assistants = Assistants(where, clock)
        self.models = Models(where)
        self.threads = Threads(where, clock)
        self.runs = Runs(self.threads.folder, self.threads.own_folder, where.quarantine)
        self.census = Census(where, self.threads.order, self.runs.note)
        self.messages = Messages(self.threads, self.runs.active_id, where, clock)

    @classmethod
    def open(cls, root: Path, *, demo_weights: Path | None = None, clock: Clock = wall_clock_ms) -> Self:
        """Take a janroot, make what is missing in it, and find its threads, or most of them: see `Census`.

        Raises JanrootInUseError: another process has it. StorageFullError: no room for the first files.
        """
        where = Layout(root)
        where.make_server_folders()
        lock = JanrootLock(where.lock)
        try:
            where.clear_staging()
            flat.finish(where)
            seed.demo_model(where, demo_weights)
            where.make_collections()
            store = cls(where, lock, clock)
            seed.default_assistant(where, store.assistants)
            store.census.begin()
        except BaseException:
            lock.release()
            raise
        return store

    def create_thread(self, assistant_id: AssistantId, thread: Thread, messages: Sequence[Message] = ()) -> Thread:
        """Make a thread; when it names nobody who answers, the assistant it is named after does.

        Jan's desktop reads `assistants[0]` of every thread, and crashed on those that had none (jan#2654).
        """
        if not thread.assistants:
            named = ThreadAssistant(assistant_id=assistant_id, assistant_name=self._name_of(assistant_id))
            thread = replace(thread, assistants=(named,))
        made = self.threads.create(assistant_id, thread, messages)
        if messages:
            self.messages.on_change(made.id, None)
        return made

    def create_run(self, run: Run, messages: Sequence[Message]) -> Run:
        """Append messages to a thread and accept a run on it, in one step. See `Runs.create` for errors."""
        return self.runs.create(run, first=lambda: self.messages.append(run.thread_id, messages))

    def delete_thread(self, thread_id: ThreadId, if_revision: Collection[str] = ()) -> None:
        """Take a thread away with all it holds. Raises NotFoundError, PreconditionFailedError."""
        self.threads.delete(thread_id, if_revision)
        self.messages.logs.drop(thread_id)
        self.runs.forget(thread_id)
        self.messages.on_change(thread_id, None)

    def save_indexes(self) -> None:
        """Leave the next start what it needs to be quick; nothing that could not be made again."""
        self.census.save()
        self.messages.save_indexes()

    def report(self, most: int) -> Report:
        """What is unusual in the janroot, the first `most` findings told. Changes nothing; may take a while."""
        return report.inspect(self.layout, most)

    def close(self) -> None:
        """Give the janroot up."""
        self.save_indexes()
        self._lock.release()

    def _name_of(self, assistant_id: AssistantId) -> str:
        """What people call an assistant; nothing for one that is gone or has no name."""
        try:
            return self.assistants.get(assistant_id).name or ""
        except NotFoundError:
            return ""

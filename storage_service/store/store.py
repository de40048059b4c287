"""One janroot, opened: the collections, built in the right order on one lock."""

import os
import time
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Self

from jan.errors import FailedPreconditionError, InvalidArgumentError, JanError, NotFoundError
from jan.ids import AssistantId, ThreadId, TrashId
from storage_service.store import atomic, flat, layout, seed, trash
from storage_service.store.assistant_imports import AssistantImports
from storage_service.store.assistants import Assistants
from storage_service.store.batches.batches import Batches
from storage_service.store.census import Census
from storage_service.store.clock import Clock, Stopwatch, wall_clock_ms
from storage_service.store.completions import Completions
from storage_service.store.files import Files
from storage_service.store.layout import Layout
from storage_service.store.lock import JanrootLock
from storage_service.store.message_files import MessageFiles
from storage_service.store.messages import Appending, Messages
from storage_service.store.model_changes import ModelChanges
from storage_service.store.model_imports.imports import ModelImports
from storage_service.store.models import Models
from storage_service.store.pulls.cache import BlobCache
from storage_service.store.pulls.pulls import Pulls
from storage_service.store.records import Message, Run, Thread, ThreadAssistant, TrashEntry
from storage_service.store.report import whole as report
from storage_service.store.report.findings import Report
from storage_service.store.report.vector_stores import Embedders
from storage_service.store.restoring import swap
from storage_service.store.restoring.restores import Restores
from storage_service.store.revisions import check_revision
from storage_service.store.runs import ActiveRun, Runs
from storage_service.store.threads import Threads
from storage_service.store.trash import DEFAULT_DAYS, Deletion, Trash
from storage_service.store.uploads.uploads import Uploads
from storage_service.store.vector_stores.batches import FileBatches
from storage_service.store.vector_stores.embedding import Embedding
from storage_service.store.vector_stores.files import StoreFiles
from storage_service.store.vector_stores.nearest import Vectors
from storage_service.store.vector_stores.search import ChunkSearch
from storage_service.store.vector_stores.stores import VectorStores


class Store:
    """Everything under one janroot. Use `Store.open`, and `close` when done."""

    def __init__(  # noqa: PLR0917  only `open` calls it
        self, where: Layout, lock: JanrootLock, clock: Clock, trash_days: int, stopwatch: Stopwatch, blobs: BlobCache
    ) -> None:
        self.layout = where
        self._lock = lock
        self._clock = clock
        self.trash = Trash(where, clock, trash_days, stopwatch)
        self.restores = Restores(where, self.trash)
        self.assistants = Assistants(where, clock, self.trash)
        self.assistant_imports = AssistantImports(where, self.assistants)
        self.files = Files(where, clock, stopwatch)
        self.completions = Completions(where, clock)
        self.uploads = Uploads(where, clock, stopwatch, self.files)
        self.batches = Batches(where, clock, self.files)
        self.vector_stores = VectorStores(where, clock, stopwatch)
        self.vector_store_files = StoreFiles(where, clock, self.vector_stores, self.files)
        self.file_batches = FileBatches(where, clock, self.vector_stores, self.vector_store_files)
        vectors = Vectors()
        self.chunk_search = ChunkSearch(where, self.vector_stores, self.vector_store_files, vectors)
        self.embedding = Embedding(self.vector_stores, self.vector_store_files, self.chunk_search, vectors)
        self.models = Models(where)
        self.model_imports = ModelImports(where, self.models, clock)
        self.model_changes = ModelChanges(where, self.models, self.trash)
        self.pulls = Pulls(where, clock, stopwatch, blobs, self.models.all)
        self.threads = Threads(where, clock, self.trash)
        self.runs = Runs(self.threads.folder, self.threads.own_folder, where.quarantine)
        self.census = Census(where, self.threads.order, self.runs.note)
        self.messages = Messages(self.threads, self.runs.known, where, clock)
        self.message_files = MessageFiles(self.threads.folder, self.messages, self.files)

    @classmethod
    def open(
        cls,
        root: Path,
        *,
        demo_weights: Path | None = None,
        clock: Clock = wall_clock_ms,
        trash_days: int = DEFAULT_DAYS,
        stopwatch: Stopwatch = time.monotonic,
        hf_cache: Path | None = None,
        import_paths: Sequence[Path] = (),
    ) -> Self:
        """Take a janroot, make what is missing in it, and find its threads, or most of them: see `Census`.

        hf_cache: a Hugging Face cache whose files need no download; None for none. import_paths: the folders that
        models may be imported from.

        Raises JanrootInUseError: another process has it. StorageFullError: no room for the first files.
        """
        where = Layout(root)
        atomic.make_dir(where.server)
        lock = JanrootLock(where.lock)
        try:
            where.make_server_folders()
            swap.finish(where)
            where.make_server_folders()  # once more: a swap takes the index away
            where.clear_staging()
            flat.finish(where)
            seed.demo_model(where, demo_weights)
            where.make_collections()
            store = cls(where, lock, clock, trash_days, stopwatch, BlobCache(hf_cache))
            store.model_imports.allow(import_paths)
            seed.default_assistant(where, store.assistants)
            store.files.sweep()
            store.census.begin()
        except BaseException:
            lock.release()
            raise
        return store

    def create_thread(self, assistant_id: AssistantId, thread: Thread, messages: Sequence[Message] = ()) -> Thread:
        """Make a thread; when it names nobody who answers, the assistant it is named after does.

        Jan's desktop reads `assistants[0]` of every thread, and crashed on those that had none (jan#2654).
        One with an id that is there already is answered as it is. Raises InvalidArgumentError: a message names a file
        that is not there. GoneError: a thread of that id was deleted.
        """
        if thread.id and (made_before := self.threads.find(thread.id)) is not None:
            return made_before
        self._check_files(messages, "messages")
        if not thread.assistants:
            named = ThreadAssistant(assistant_id=assistant_id, assistant_name=self._name_of(assistant_id))
            thread = replace(thread, assistants=(named,))
        made = self.threads.create(assistant_id, thread, messages)
        if messages:
            self.messages.on_change(made.id, None)
        return made

    def create_run(self, run: Run, messages: Sequence[Message]) -> Run:
        """Append messages to a thread and accept a run on it, in one step. See `Runs.create` for errors."""
        return self.runs.create(run, first=lambda: self.append(run.thread_id, messages, named="additional_messages"))

    def append(self, thread_id: ThreadId, messages: Sequence[Message], *, named: str = "") -> list[Message]:
        """Add messages at the end of a thread, with files that are there. See `Messages.append` for more errors.

        named: what the request calls them; empty for one alone. Raises InvalidArgumentError: a message names a file
        that is not there.
        """
        [outcome] = self.append_each(thread_id, [messages], named=named)
        if isinstance(outcome, JanError):
            raise outcome
        return outcome

    def append_each(
        self, thread_id: ThreadId, requests: Sequence[Sequence[Message]], *, named: str = ""
    ) -> list[Appending]:
        """Do what `append` does for several requests in turn. See `Messages.append_each`."""
        refusals = [self._refusal(messages, named) for messages in requests]
        sound = [messages for messages, refusal in zip(requests, refusals, strict=True) if refusal is None]
        outcomes = iter(self.messages.append_each(thread_id, sound))
        return [refusal or next(outcomes) for refusal in refusals]

    def delete_thread(
        self, thread_id: ThreadId, into: Deletion | None = None, if_revision: Collection[str] = ()
    ) -> list[ActiveRun]:
        """Move a thread with all it holds into the trash; answers the runs that were active.

        Durable on return, or when the deletion is finished that it is a part of. Raises NotFoundError.
        PreconditionFailedError: the thread's revision is none of `if_revision`.
        """
        check_revision(self.threads.get(thread_id).revision, if_revision)
        self.runs.note(thread_id)
        deletion = into or self.trash.begin(trash.THREAD)
        ended = self.runs.known_active(thread_id)
        self.threads.delete(thread_id, deletion)
        self._forget(thread_id)
        if into is None:
            deletion.finish()
        return ended

    def clear_thread(self, thread_id: ThreadId) -> Thread:
        """Move a thread's messages, runs and files into the trash; its settings stay. Durable on return.

        Messages go first: broken off by a crash, it is done by doing it again. Raises NotFoundError.
        FailedPreconditionError: a run is active. StorageFullError: no room; do it again for what is left.
        """
        active = self.runs.active_id(thread_id)
        if active is not None:
            raise FailedPreconditionError(f"Can't clear {thread_id} while a run {active} is active.")
        self.messages.make_file(thread_id)
        atomic.again_if_changed(lambda: self.threads.drop_messages_inside(thread_id))
        folder = self.threads.own_folder(thread_id)
        thread = self.threads.change(thread_id, _without_last_message)
        deletion = self.trash.begin(trash.MESSAGES)
        for name in (layout.MESSAGES_FILE, layout.RUNS_FILE, layout.FILES_FOLDER):
            if os.path.lexists(folder / name):
                deletion.put(folder / name, below=thread_id)
        deletion.finish()
        self._forget(thread_id)
        return thread

    def clone_thread(self, thread_id: ThreadId, title: str | None = None, new_id: ThreadId | None = None) -> Thread:
        """Copy a thread, named after its first assistant unless `new_id` is said. See `Threads.clone`.

        A copy that is there already is answered as it is. Raises GoneError: it was deleted.
        """
        if new_id and (made_before := self.threads.find(new_id)) is not None:
            return made_before
        assistants = self.threads.get(thread_id).assistants
        named = assistants[0].assistant_id if assistants else seed.DEFAULT_ASSISTANT
        copy = self.threads.clone(thread_id, named, title, new_id)
        self.messages.on_change(copy.id, None)
        return copy

    def restore(self, trash_id: TrashId) -> TrashEntry:
        """Undo a deletion; runs that were active in it have ended. See `Trash.restore`.

        A janroot that was replaced comes back at the next start: whoever asks for that must see to one.
        """
        if self.trash.get(trash_id).kind == trash.JANROOT:
            return self.restores.undo(trash_id)
        entry, names = self.trash.restore(trash_id)
        for thread_id in map(ThreadId, names if entry.kind in (trash.THREAD, trash.THREADS) else ()):
            self.runs.end_left_over(thread_id, self._clock())
            self.messages.on_change(thread_id, None)
        return entry

    def delete_trash(self, trash_id: TrashId) -> None:
        """Remove a deletion for good. Raises NotFoundError; ConflictError: the next start may need it."""
        self.restores.check_idle()
        self.trash.delete(trash_id)

    def empty_trash(self) -> int:
        """Remove every deletion for good; answers how many. Raises ConflictError as above."""
        self.restores.check_idle()
        return self.trash.delete_all()

    def stand_guard(self) -> None:
        """See before any work that the janroot is still ours, and make folders of ours that somebody removed.

        Raises JanrootLostError: whoever hears of that must write no more.
        """
        self._lock.check()
        self.layout.make_missing()

    def tidy(self) -> None:
        """Remove what has outlived its time: in the trash, among the uploads, and in vector stores."""
        self.trash.empty()
        self.files.remove_expired()
        self.uploads.remove_expired()
        for store_id in self.vector_stores.long_expired():
            self.vector_store_files.remove_all(store_id)

    def _refusal(self, messages: Sequence[Message], named: str) -> JanError | None:
        try:
            self._check_files(messages, named)
        except InvalidArgumentError as error:
            return error.with_traceback(None)
        return None

    def _check_files(self, messages: Sequence[Message], named: str) -> None:
        for index, message in enumerate(messages):
            self.message_files.check(message, before=f"{named}[{index}]." if named else "")

    def _forget(self, thread_id: ThreadId) -> None:
        self.messages.logs.drop(thread_id)
        self.runs.forget(thread_id)
        self.messages.on_change(thread_id, None)

    def save_indexes(self) -> None:
        """Leave the next start what it needs to be quick; nothing that could not be made again."""
        self.census.save()
        self.messages.save_indexes()

    def report(self, most: int, embedders: Embedders | None = None) -> Report:
        """What is unusual in the janroot, the first `most` findings told. Changes nothing; may take a while."""
        return report.inspect(self.layout, most, embedders)

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


def _without_last_message(thread: Thread) -> Thread:
    """Jan shows this in its list, and showed it still when the messages were gone (janhq/jan #1501)."""
    return replace(thread, metadata={key: value for key, value in thread.metadata.items() if key != "lastMessage"})

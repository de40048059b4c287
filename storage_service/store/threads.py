"""Threads: a folder each, with a thread.json."""

import itertools
import os
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path

from jan.errors import JanError, NotFoundError
from jan.ids import AssistantId, ThreadId
from jan.telemetry import get_logger
from storage_service.store import atomic, jsonfile, jsonl, layout
from storage_service.store.clock import Clock
from storage_service.store.forms import messages as message_form
from storage_service.store.forms import threads as form
from storage_service.store.jsonfile import Found
from storage_service.store.messages import stamped
from storage_service.store.order import CreationOrder
from storage_service.store.paging import Page, PageQuery
from storage_service.store.records import Message, Thread
from storage_service.store.revisions import check_revision

logger = get_logger(__name__)

_UNIX_SECONDS = re.compile(r"_([0-9]{9,10})(?:-[0-9]+)?$")


class Threads:
    """Create, read, list, change and delete threads. Times and names of new ones are made here."""

    def __init__(self, where: layout.Layout, clock: Clock) -> None:
        self._layout = where
        self._clock = clock
        self.home = where.threads
        # Where the search for a free name begins; a busy second would try every number it has given.
        self._last_claim = ("", 0)
        self.order = CreationOrder(where.threads, ThreadId, self._created_ms, helped=True)

    def create(self, assistant_id: AssistantId, thread: Thread, messages: Sequence[Message] = ()) -> Thread:
        """Make a thread named after an assistant, with its first messages; `thread.id` and times are ignored.

        Durable and whole on return: the folder is built aside and renamed into place. Raises StorageFullError.
        """
        created_ms = self.order.claim_ms(self._clock())
        with self.order.own_change():
            folder = self._claim_folder(f"{assistant_id}_{created_ms // 1000}")
            thread = replace(thread, id=ThreadId(folder.name), created_ms=created_ms, updated_ms=created_ms)
            staged = self._layout.staging / folder.name
            try:
                thread = replace(thread, revision=self._stage(staged, thread, messages))
                atomic.publish(staged, folder)
            except (JanError, OSError):
                atomic.remove_tree(staged)
                folder.rmdir()
                raise
        self.order.put(thread.id, created_ms)
        return thread

    def get(self, thread_id: ThreadId) -> Thread:
        """Read a thread. Raises NotFoundError."""
        thread = self._read(thread_id)
        if thread is None:
            raise _not_found(thread_id)
        return thread

    def page(self, query: PageQuery) -> Page[Thread]:
        """One page of threads in order of creation. Raises InvalidArgumentError: see `paging.cut`."""
        while True:
            ids = self.order.page(query)
            threads = [self._read(thread_id) for thread_id in ids.items]
            # Reading notices what was changed by hand: a thread that went, or moved in the order, asks for a new cut.
            found = tuple(thread for thread in threads if thread is not None)
            moved = [self.order.put(thread.id, thread.created_ms) for thread in found]
            if len(found) == len(threads) and not any(moved):
                return Page(found, ids.has_more)

    def change(
        self, thread_id: ThreadId, change: Callable[[Thread], Thread], if_revision: Collection[str] = ()
    ) -> Thread:
        """Rewrite a thread's file with what `change` makes of it; id and creation time stay. Durable on return.

        Keys of the file that no field stands for are kept, and so is what somebody else writes meanwhile. Raises
        NotFoundError, StorageFullError. PreconditionFailedError: the revision is none of `if_revision`.
        """
        return atomic.again_if_changed(lambda: self._change(thread_id, change, if_revision))

    def delete(self, thread_id: ThreadId, if_revision: Collection[str] = ()) -> None:
        """Take a thread away, messages and all: its folder moves into `.server/trash/`. Durable on return.

        Raises NotFoundError. PreconditionFailedError: see `change`.
        """
        folder = self.folder(thread_id)
        if if_revision:
            check_revision(self.get(thread_id).revision, if_revision)
        with self.order.own_change():
            atomic.rename(folder, self._layout.trash_name(folder))
        self.order.drop(thread_id)

    def folder(self, thread_id: ThreadId) -> Path:
        """The folder of a thread that exists. Raises NotFoundError."""
        folder = self._layout.thread(thread_id)
        if not _holds_thread(folder):
            raise _not_found(thread_id)
        return folder

    def _claim_folder(self, name: str) -> Path:
        """Take the first free name; mkdir decides. A name in the trash is not given again: clients may know it."""
        last_name, last_number = self._last_claim
        for number in itertools.count(last_number + 1 if name == last_name else 1):
            folder = self._layout.thread(ThreadId(name if number == 1 else f"{name}-{number}"))
            if not os.path.lexists(self._layout.trash / folder.name) and atomic.claim_dir(folder):
                self._last_claim = name, number
                return folder
        raise AssertionError("numbers never end")

    def _stage(self, staged: Path, thread: Thread, messages: Sequence[Message]) -> str:
        """Build a thread's folder; answers the revision of its thread.json."""
        atomic.claim_dir(staged)
        revision = jsonfile.write(staged / layout.THREAD_FILE, form.to_json(thread))
        lines = [
            jsonl.encode(message_form.to_json(stamped(message, thread.id, thread.created_ms))) for message in messages
        ]
        if lines:
            atomic.replace(staged / layout.MESSAGES_FILE, lines)
        return revision

    def _change(self, thread_id: ThreadId, change: Callable[[Thread], Thread], if_revision: Collection[str]) -> Thread:
        path = self.folder(thread_id) / layout.THREAD_FILE
        found = jsonfile.look(path)
        before = self._from_file(thread_id, found)
        check_revision(before.revision, if_revision)
        after = replace(change(before), id=before.id, created_ms=before.created_ms, updated_ms=self._clock())
        if found.value is None:
            if path.exists():
                atomic.set_aside(path, self._layout.quarantine)
            raw = form.to_json(after)
        else:
            raw = form.change(found.value, before, after)
        return replace(after, revision=jsonfile.write(path, raw, instead_of=found.signature))

    def _read(self, thread_id: ThreadId) -> Thread | None:
        folder = self._layout.thread(thread_id)
        if not _holds_thread(folder):
            self.order.drop(thread_id)
            return None
        return self._from_file(thread_id, jsonfile.look(folder / layout.THREAD_FILE))

    def _from_file(self, thread_id: ThreadId, found: Found) -> Thread:
        if found.value is None:
            logger.warning("thread.json is missing or unreadable; defaults stand in", thread=thread_id)
        folder = self._layout.thread(thread_id)
        thread = form.from_json(thread_id, found.value or {}, _made_ms(folder))
        messages_ms = jsonfile.changed_ms(folder / layout.MESSAGES_FILE) or 0
        return replace(thread, updated_ms=max(thread.updated_ms, messages_ms), revision=found.revision)

    def _created_ms(self, thread_id: ThreadId) -> int | None:
        folder = self._layout.thread(thread_id)
        if not _holds_thread(folder):
            return None
        return form.from_json(thread_id, jsonfile.read(folder / layout.THREAD_FILE) or {}, _made_ms(folder)).created_ms


def _holds_thread(folder: Path) -> bool:
    """A folder with neither file is none of ours: an empty one, a name being claimed, or one closed to us."""
    try:
        return any((folder / name).is_file() for name in (layout.THREAD_FILE, layout.MESSAGES_FILE))
    except PermissionError:
        logger.warning("folder skipped: not allowed to look inside", folder=folder.name)
        return False


def _made_ms(folder: Path) -> int:
    """When a folder was made, as far as it can be told: by its name, else by its own time."""
    suffix = _UNIX_SECONDS.search(folder.name)
    return int(suffix[1]) * 1000 if suffix else jsonfile.changed_ms(folder) or 0


def _not_found(thread_id: ThreadId) -> NotFoundError:
    return NotFoundError(f"No thread found with id '{thread_id:.64}'.")

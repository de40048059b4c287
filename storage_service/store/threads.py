"""Threads: a folder each, with a thread.json; those of 2023 are files until they are changed."""

import itertools
import os
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path

from jan.errors import FailedPreconditionError, JanError, NotFoundError
from jan.ids import AssistantId, ThreadId
from jan.telemetry import get_logger
from storage_service.store import atomic, flat, jsonfile, jsonl, layout
from storage_service.store.clock import Clock
from storage_service.store.forms import messages as message_form
from storage_service.store.forms import threads as form
from storage_service.store.jsonfile import Found
from storage_service.store.messages import first_ms, stamped
from storage_service.store.order import CreationOrder
from storage_service.store.paging import Page, PageQuery
from storage_service.store.places import Places, holds_thread
from storage_service.store.records import Message, Thread
from storage_service.store.revisions import check_revision

logger = get_logger(__name__)


class Threads:
    """Create, read, list, change and delete threads. Times and names of new ones are made here."""

    def __init__(self, where: layout.Layout, clock: Clock) -> None:
        self._layout = where
        self._clock = clock
        self.home = where.threads
        # Where the search for a free name begins; a busy second would try every number it has given.
        self._last_claim = ("", 0)
        self.order = CreationOrder(where.threads, ThreadId, self._created_ms, Places(where).names_of, helped=True)

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
        NotFoundError, StorageFullError, FailedPreconditionError: the file is a link. PreconditionFailedError: the
        revision is none of `if_revision`.
        """
        return atomic.again_if_changed(lambda: self._change(thread_id, change, if_revision))

    def delete(self, thread_id: ThreadId, if_revision: Collection[str] = ()) -> None:
        """Take a thread away, messages and all: its folder moves into `.server/trash/`. Durable on return.

        Raises NotFoundError. PreconditionFailedError: see `change`.
        """
        check_revision(self.get(thread_id).revision, if_revision)
        folder = self.own_folder(thread_id)
        with self.order.own_change():
            atomic.rename(folder, self._layout.trash_name(folder))
        self.order.drop(thread_id)

    def folder(self, thread_id: ThreadId) -> Path:
        """The folder of a thread that exists, to read from; a flat thread's is not there. Raises NotFoundError."""
        if self._home(thread_id) is None:
            raise _not_found(thread_id)
        return self._layout.thread(thread_id)

    def own_folder(self, thread_id: ThreadId) -> Path:
        """The folder of a thread, to write into: a flat thread is given one first.

        Only under the thread's lock, like every write. Raises NotFoundError, StorageFullError.
        """
        home = self._home(thread_id)
        if home is None:
            raise _not_found(thread_id)
        if not home.is_dir():
            with self.order.own_change():
                return flat.to_folder(self._layout, thread_id)
        return home

    def messages_inside(self, thread_id: ThreadId) -> bytes:
        """The messages that a draft kept in the thread's own file, as lines; nothing for all other threads."""
        home = self._home(thread_id)
        return flat.messages_inside(thread_id, _thread_file(home)) if home else b""

    def _home(self, thread_id: ThreadId) -> Path | None:
        """The folder or the flat file that a thread lies in. It may move from the one to the other meanwhile."""
        folder, path = self._layout.thread(thread_id), self._layout.flat_thread(thread_id)
        if holds_thread(folder):
            return folder
        if flat.is_flat(path):
            return path
        return folder if holds_thread(folder) else None

    def _claim_folder(self, name: str) -> Path:
        """Take the first free name; mkdir decides. A name in the trash is not given again: clients may know it."""
        last_name, last_number = self._last_claim
        for number in itertools.count(last_number + 1 if name == last_name else 1):
            folder = self._layout.thread(ThreadId(name if number == 1 else f"{name}-{number}"))
            taken = self._layout.trash / folder.name, self._layout.flat_thread(ThreadId(folder.name))
            if not any(map(os.path.lexists, taken)) and atomic.claim_dir(folder):
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
        home = self._home(thread_id)
        if home is not None and flat.is_flat(home):
            check_revision(self.get(thread_id).revision, if_revision)
            if_revision = ()  # Its own folder is the same thread under another revision.
        folder = self.own_folder(thread_id)
        path = folder / layout.THREAD_FILE
        found = jsonfile.look(path)
        before = self._from_file(thread_id, folder, found)
        check_revision(before.revision, if_revision)
        after = replace(change(before), id=before.id, created_ms=before.created_ms, updated_ms=self._clock())
        if found.value is None:
            if path.is_symlink():
                raise FailedPreconditionError(f"The thread.json of {thread_id} is a link, which is not followed.")
            if path.exists():
                atomic.set_aside(path, self._layout.quarantine)
            raw = form.to_json(after)
        else:
            raw = form.change(found.value, before, after)
        return replace(after, revision=jsonfile.write(path, raw, instead_of=found.signature))

    def _read(self, thread_id: ThreadId) -> Thread | None:
        home = self._home(thread_id)
        if home is None:
            self.order.drop(thread_id)
            return None
        found = jsonfile.look(_thread_file(home))
        if found.value is None and not home.exists():
            return self._read(thread_id)
        return self._from_file(thread_id, home, found)

    def _from_file(self, thread_id: ThreadId, home: Path, found: Found) -> Thread:
        if found.value is None:
            logger.warning("thread file is missing or unreadable; defaults stand in", thread=thread_id)
        raw = found.value or {}
        messages = self._layout.thread(thread_id) / layout.MESSAGES_FILE
        first = first_ms(messages) if form.forgets_creation(raw) else None
        thread = form.from_json(thread_id, raw, flat.made_ms(home), first)
        updated_ms = max(thread.updated_ms, jsonfile.changed_ms(messages) or 0)
        return replace(thread, updated_ms=updated_ms, revision=found.revision)

    def _created_ms(self, thread_id: ThreadId) -> int | None:
        thread = self._read(thread_id)
        return thread.created_ms if thread else None


def _thread_file(home: Path) -> Path:
    """The thread's own file: the flat one, or the one in the folder."""
    return home if flat.is_flat(home) else home / layout.THREAD_FILE


def _not_found(thread_id: ThreadId) -> NotFoundError:
    return NotFoundError(f"No thread found with id '{thread_id:.64}'.")

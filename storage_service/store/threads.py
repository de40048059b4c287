"""Threads: a folder each, with a thread.json; those of 2023 are files until they are changed."""

import contextlib
import itertools
import os
import threading
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from jan.errors import FailedPreconditionError, GoneError, InvalidArgumentError, JanError, NotFoundError
from jan.ids import AssistantId, ThreadId
from jan.telemetry import get_logger
from storage_service.store import atomic, copies, flat, jsonfile, jsonl, layout
from storage_service.store.batch import stamped
from storage_service.store.clock import Clock
from storage_service.store.files import OpenFile
from storage_service.store.forms import messages as message_form
from storage_service.store.forms import threads as form
from storage_service.store.jsonfile import Found
from storage_service.store.messages import first_ms
from storage_service.store.order import CreationOrder
from storage_service.store.paging import Page, PageQuery
from storage_service.store.places import Places, holds_thread
from storage_service.store.records import Message, Thread
from storage_service.store.revisions import check_revision
from storage_service.store.trash import Deletion, Trash

logger = get_logger(__name__)


class Threads:
    """Create, read, list, change and delete threads. Times and names of new ones are made here."""

    def __init__(self, where: layout.Layout, clock: Clock, trash: Trash) -> None:
        self._layout = where
        self._clock = clock
        self._trash = trash
        self.home = where.threads
        # Where the search for a free name begins; a busy second would try every number it has given.
        self._last_claim = ("", 0)
        # An import looks whether a name is free and then moves a folder there: nobody may take it in between.
        self._claiming = threading.Lock()
        self.order = CreationOrder(where.threads, ThreadId, self._created_ms, Places(where).names_of, helped=True)

    def create(self, assistant_id: AssistantId, thread: Thread, messages: Sequence[Message] = ()) -> Thread:
        """Make a thread with its first messages, under its id, or named after an assistant without one.

        Durable and whole on return: the folder is built aside and renamed into place. Raises StorageFullError.
        """

        def build(staged: Path, thread_id: ThreadId, created_ms: int) -> None:
            named = replace(thread, id=thread_id, created_ms=created_ms, updated_ms=created_ms)
            _write_new(staged, named, messages)

        return self.get(self._make(assistant_id, build, thread.id))

    def clone(
        self, thread_id: ThreadId, assistant_id: AssistantId, title: str | None = None, new_id: ThreadId | None = None
    ) -> Thread:
        """Make a thread with the settings, messages and files of another, but not its runs; named as in `create`.

        Message ids stay, since they need be unique in their thread only; what names the thread is changed. Lines that
        cannot be read are copied as they are. Durable and whole on return. Raises NotFoundError, StorageFullError.
        """
        source = self.own_folder(thread_id)
        before = self.get(thread_id)

        def build(staged: Path, new_id: ThreadId, created_ms: int) -> None:
            after = replace(before, id=new_id, created_ms=created_ms, updated_ms=created_ms)
            if title is not None:
                after = replace(after, title=title)
            _write_copy(source, staged, before, after)

        return self.get(self._make(assistant_id, build, new_id))

    def get(self, thread_id: ThreadId) -> Thread:
        """Read a thread. Raises NotFoundError."""
        thread = self._read(thread_id)
        if thread is None:
            raise _not_found(thread_id)
        return thread

    def find(self, thread_id: ThreadId) -> Thread | None:
        """Read a thread that may not have been made yet. Raises GoneError: it was, and is deleted."""
        thread = self._read(thread_id)
        if thread is None and self._trash.holds(thread_id):
            raise GoneError(f"The thread '{thread_id}' was made before, and is deleted.", code="thread_deleted")
        return thread

    def page(self, query: PageQuery) -> Page[Thread]:
        """One page of threads in order of creation. Raises InvalidArgumentError: see `paging.cut`."""
        while True:
            ids = self.order.page(query)
            threads = [self._listed(thread_id) for thread_id in ids.items]
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

    def is_taken(self, name: str) -> bool:
        """Whether a name cannot be given to a thread: one has it, or had it and is in the trash."""
        paths = (self.home / name, self.home / f"{name}.json")
        return name in self._layout.nested or self._trash.holds(name) or any(map(os.path.lexists, paths))

    def adopt(self, staged: Path, thread_id: ThreadId) -> bool:
        """Move a thread that was built aside to its place; False when somebody took the name meanwhile.

        Its files must be durable. The place is, once `home` is synced, which many may share.
        """
        with self._claiming, self.order.own_change():
            if self.is_taken(thread_id):
                return False
            atomic.move(staged, self.home / thread_id)
        return True

    def delete(self, thread_id: ThreadId, into: Deletion) -> None:
        """Take a thread away, messages and all: its folder moves into the trash. Durable when that is finished.

        So do others of the same name, first: it stands in front of them, and none of them shall come to light as what
        was deleted. Raises NotFoundError.
        """
        folder = self.own_folder(thread_id)
        shadowed = self._shadowed(thread_id, folder)
        with self.order.own_change():
            for path in shadowed:
                into.put_shadowed(path, self.home)
            into.put(folder)
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
        if flat.is_flat(home):
            with self.order.own_change():
                return flat.to_folder(self._layout, thread_id)
        return home

    def messages_inside(self, thread_id: ThreadId) -> bytes:
        """The messages that a draft kept in the thread's own file, as lines; nothing for all other threads."""
        home = self._home(thread_id)
        return flat.messages_inside(thread_id, _thread_file(home)) if home else b""

    def drop_messages_inside(self, thread_id: ThreadId) -> None:
        """Take the messages of a draft out of the thread's own file, which is kept in quarantine as it was."""
        path = self.own_folder(thread_id) / layout.THREAD_FILE
        found = jsonfile.look(path)
        if found.value is not None and "messages" in found.value:
            atomic.set_aside(path, self._layout.quarantine)
            rest = {key: value for key, value in found.value.items() if key != "messages"}
            jsonfile.write(path, rest, instead_of=found.signature)

    def _home(self, thread_id: ThreadId) -> Path | None:
        """The folder or the flat file that a thread lies in. It may move from the one to the other meanwhile."""
        folder = self._layout.thread(thread_id)
        if holds_thread(folder):
            return folder
        path = self._layout.flat_thread(thread_id)
        if flat.is_flat(path):
            return path
        return folder if holds_thread(folder) else None

    def _shadowed(self, thread_id: ThreadId, folder: Path) -> list[Path]:
        """What else would be served under a thread's name, if its folder were not there."""
        self.order.notice()
        copies = sorted({into / thread_id for into in self._layout.sorted_into} - {folder})
        path = self._layout.flat_thread(thread_id)
        found = [copy for copy in copies if _is_below(copy, self.home) and holds_thread(copy)]
        return [*found, path] if flat.is_flat(path) else found

    def _make(
        self, assistant_id: AssistantId, build: Callable[[Path, ThreadId, int], None], wanted: ThreadId | None
    ) -> ThreadId:
        """Have a thread's folder built aside, given its place there, its id and its time, and move it into place.

        wanted: the id, which no thread has; whoever names one sees to it that nobody else makes it meanwhile.
        """
        created_ms = self.order.claim_ms(self._clock())
        with self.order.own_change():
            folder = (
                self._claim_wanted(wanted) if wanted else self._claim_folder(f"{assistant_id}_{created_ms // 1000}")
            )
            thread_id = ThreadId(folder.name)
            staged = self._layout.staging / folder.name
            try:
                atomic.claim_dir(staged)
                build(staged, thread_id, created_ms)
                atomic.publish(staged, folder)
            except (JanError, OSError):
                atomic.remove_tree(staged)
                folder.rmdir()
                raise
        self.order.put(thread_id, created_ms)
        return thread_id

    def _claim_folder(self, name: str) -> Path:
        """Take the first free name; mkdir decides. A name in the trash is not given again: clients may know it."""
        last_name, last_number = self._last_claim
        for number in itertools.count(last_number + 1 if name == last_name else 1):
            folder = self._layout.thread(ThreadId(name if number == 1 else f"{name}-{number}"))
            taken = self._trash.holds(folder.name) or os.path.lexists(self._layout.flat_thread(ThreadId(folder.name)))
            with self._claiming:
                claimed = not taken and atomic.claim_dir(folder)
            if claimed:
                self._last_claim = name, number
                return folder
        raise AssertionError("numbers never end")

    def _claim_wanted(self, thread_id: ThreadId) -> Path:
        """Take a name that was chosen before; an empty folder is what a crash left of an earlier claim."""
        folder = self._layout.thread(thread_id)
        with self._claiming:
            if not atomic.claim_dir(folder) and any(folder.iterdir()):
                raise FailedPreconditionError(f"The folder 'threads/{thread_id}' is in the way; move it aside.")
        return folder

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
        folder = self._layout.thread(thread_id) if flat.is_flat(home) else home
        messages = folder / layout.MESSAGES_FILE
        first = first_ms(messages) if form.forgets_creation(raw) else None
        thread = form.from_json(thread_id, raw, flat.made_ms(home), first)
        updated_ms = max(thread.updated_ms, jsonfile.changed_ms(messages) or 0)
        return replace(thread, updated_ms=updated_ms, revision=found.revision)

    def _created_ms(self, thread_id: ThreadId) -> int | None:
        thread = self._listed(thread_id)
        return thread.created_ms if thread else None

    def _listed(self, thread_id: ThreadId) -> Thread | None:
        """A thread as lists have it: none where a link stands in its place, which hides no neighbour."""
        try:
            return self._read(thread_id)
        except InvalidArgumentError:
            self.order.drop(thread_id)
            return None


def _is_below(path: Path, home: Path) -> bool:
    """Whether a path is still one of folders alone: links put in their place may lead anywhere."""
    return not any(os.path.islink(part) for part in (path, *path.parents[: len(path.relative_to(home).parts) - 1]))


def _thread_file(home: Path) -> Path:
    """The thread's own file: the flat one, or the one in the folder."""
    return home if flat.is_flat(home) else home / layout.THREAD_FILE


def _write_new(staged: Path, thread: Thread, messages: Sequence[Message]) -> None:
    jsonfile.write(staged / layout.THREAD_FILE, form.to_json(thread))
    lines = [jsonl.encode(message_form.to_json(stamped(message, thread.id, thread.created_ms))) for message in messages]
    if lines:
        atomic.replace(staged / layout.MESSAGES_FILE, lines)


def _write_copy(source: Path, staged: Path, before: Thread, after: Thread) -> None:
    raw = jsonfile.read(source / layout.THREAD_FILE)
    jsonfile.write(staged / layout.THREAD_FILE, form.to_json(after) if raw is None else form.change(raw, before, after))
    if (source / layout.FILES_FOLDER).is_dir() and not (source / layout.FILES_FOLDER).is_symlink():
        copies.copy_tree(source / layout.FILES_FOLDER, staged / layout.FILES_FOLDER)
    with contextlib.closing(OpenFile()) as messages:
        if messages.open(source / layout.MESSAGES_FILE):
            moved = partial(message_form.moved, old_id=before.id, new_id=after.id)
            lines = (
                jsonl.encode(moved(segment.value)) if segment.value else jsonl.read(messages.fd, segment) + b"\n"
                for segment in jsonl.segments(messages.fd)
            )
            atomic.replace(staged / layout.MESSAGES_FILE, lines)


def _not_found(thread_id: ThreadId) -> NotFoundError:
    return NotFoundError(f"No thread found with id '{thread_id:.64}'.")

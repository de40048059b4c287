"""Threads: a folder, or a flat file of 2023, becomes a whole thread in the workshop, under a name that is free."""

import os
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from jan.errors import InvalidArgumentError
from jan.ids import AssistantId, ThreadId
from storage_service.store import flat, jsonfile, jsonl, jsontext, layout
from storage_service.store.archive import Entry
from storage_service.store.forms import drafts, fields
from storage_service.store.forms import messages as message_form
from storage_service.store.forms import threads as form
from storage_service.store.importing import names, references
from storage_service.store.importing.contents import Folder
from storage_service.store.importing.references import Names
from storage_service.store.importing.sameness import are_shared_runs, is_same, opened
from storage_service.store.importing.workshop import Steps, Workshop
from storage_service.store.imports.conversations import Conversation
from storage_service.store.records import JsonObject, Thread, ThreadAssistant
from storage_service.store.runs import end_all
from storage_service.store.threads import Threads

# Lines are added to these.
_GROWING = frozenset({layout.MESSAGES_FILE, layout.RUNS_FILE})
# What a thread that somebody goes on with says otherwise.
_CHANGES = frozenset({"updated", "updated_at"})
_DIFFERS = "Its thread is here, but without this file or with another one."
_INVALID = "It is empty or not one JSON object."
# Jan's desktop reads the first assistant of every thread, and crashed on those that had none (jan#2654).
_JAN = ThreadAssistant(AssistantId("jan"), "Jan")


@dataclass(slots=True)
class Draft:
    """A thread as it was taken out of the archive, before it has a name here.

    home: its folder in the workshop, with `messages.jsonl` and all else but `thread.json`. file: what that is to hold;
    None when there is none, or it was no JSON object. path: where it lay in the archive;
    empty for another product's.
    """

    home: Path
    old: str
    file: bytes | None
    names: Names = field(default_factory=lambda: Names("", ""))
    path: str = ""


class ThreadImport:
    """Builds threads. `planned` has those that are to be published: their ids and where they wait."""

    def __init__(self, shop: Workshop, threads: Threads, where: layout.Layout, now_ms: int) -> None:
        self._shop = shop
        self._threads = threads
        self._layout = where
        self._now_ms = now_ms
        self.planned: dict[ThreadId, Path] = {}
        # By the name they are made of: how many candidates, one after the other, are planned already.
        self._given: dict[str, int] = {}

    def folder(self, source: Folder, kept: Names) -> Steps:
        """A thread's folder, with the new names of what it names. One without anything to read is set aside."""
        described, data = source.files.get(layout.THREAD_FILE), None
        if described is not None:
            data = self._shop.read(described, jsonfile.MAX_FILE_BYTES)
            if data is None or references.thread_file(data, Names("", "")) is None:
                data = None
                yield from self._shop.quarantine(described, _INVALID)
        others = {name: entry for name, entry in source.files.items() if entry is not described}
        if data is None and layout.MESSAGES_FILE not in others:
            yield from self._shop.quarantine_all(others.values(), "Its thread cannot be read.")
            return
        old = source.name or _own_name(data)
        kept = replace(kept, old_thread=old, thread=old)
        if data is not None and (yield from self._is_here_unbuilt(kept, data, others)):
            self._shop.report.already_here("thread", old, old)
            return
        home = self._shop.new_folder("threads")
        for name, entry in others.items():
            yield from self._shop.extract(entry, home / name)
        yield from self.settle(Draft(home, old, data, kept, source.path or old))

    def flat(self, name: str, source: Entry, kept: Names) -> Steps:
        """A flat file of 2023: it gets the form of every later release. What that cannot hold is set aside as it is."""
        data = self._shop.read(source, jsonfile.MAX_FILE_BYTES)
        raw = jsontext.load_object(data or b"")
        if data is None or raw is None:
            yield from self._shop.quarantine(source, _INVALID)
            return
        listed = raw.get("messages")
        if isinstance(listed, list) and not all(isinstance(item, str | dict) for item in listed):
            yield from self._shop.quarantine(source, "Some of its messages are neither text nor object.")
        made_ms = flat.made_ms(Path(f"{name}.json")) or source.changed_seconds * 1000
        thread_id = ThreadId(name)
        described = drafts.thread_file(raw, form.from_json(thread_id, raw, made_ms))
        home = self._shop.new_folder("threads")
        said = b"".join(map(jsonl.encode, drafts.message_lines(thread_id, raw, made_ms)))
        if said:
            yield from self._shop.write(home / layout.MESSAGES_FILE, [said], source.changed_seconds)
        file = jsontext.dumps(described, indented=True)
        yield from self.settle(
            Draft(home, name, file, replace(kept, old_thread=name, thread=name), source.name.removesuffix(".json"))
        )

    def conversation(self, said: Conversation) -> Steps:
        """A conversation of another product, as it was converted."""
        home = self._shop.new_folder("threads")
        messages = (jsonl.encode(message_form.to_json(message)) for message in said.messages)
        yield from self._shop.write(home / layout.MESSAGES_FILE, messages, said.updated_ms // 1000)
        for file in said.files:
            pieces = self._shop.named(file.entry) if file.entry else [file.data]
            yield from self._shop.write(home / layout.FILES_FOLDER / file.name, pieces)
        thread = Thread(said.id, said.created_ms, said.updated_ms, said.title, (_JAN,), said.metadata)
        described = jsontext.dumps(form.to_json(thread), indented=True)
        name = yield from self.settle(Draft(home, said.id, described, Names(said.id, said.id)))
        for note in said.notes if name else ():
            self._shop.report.noted(name, note.loss.value, f"{note.count} {note.loss.text}")

    def settle(self, draft: Draft) -> Generator[int, None, str]:
        """Give a thread its name, which what it holds follows, and answer it; the empty one when it is here already."""
        for name in self._candidates(names.usable(ThreadId, draft.old)):
            under = draft.names.under(name)
            if not self._threads.is_taken(name):
                break
            if self._is_here(name, draft, under):
                yield from self._keep_others(name, draft, under)
                self._shop.report.already_here("thread", draft.old, name)
                self._shop.drop(draft.home)
                return ""
        yield from self._finish(draft, under)
        return under.thread

    def _candidates(self, base: str) -> Iterator[str]:
        """Names that no thread of this import has: a hundred thousand folders of one name must not count so often."""
        given = self._given.get(base, 0)
        for number, name in enumerate(names.candidates(base, given + 1), given + 1):
            if ThreadId(name) not in self.planned:
                yield name
            elif number == self._given.get(base, 0) + 1:
                self._given[base] = number

    def _finish(self, draft: Draft, under: Names) -> Steps:
        """Write what the name changes, and put the folder where it waits for its publication."""
        home = draft.home
        messages = home / layout.MESSAGES_FILE
        for path in (messages, home / layout.RUNS_FILE):
            yield from self._rewrite(path, under)
        if draft.file is not None:
            described = references.thread_file(draft.file, under) or draft.file
            yield from self._shop.write(home / layout.THREAD_FILE, [described])
        place = self._shop.finished / under.thread  # where a log of runs finds the thread's name
        home.rename(place)
        end_all(place / layout.RUNS_FILE, self._shop.torn, self._now_ms)
        self.planned[ThreadId(under.thread)] = place
        self._shop.report.came_in("thread", draft.old, under.thread)
        self._shop.report.counts["messages"] += _count(place / layout.MESSAGES_FILE)

    def _rewrite(self, path: Path, under: Names) -> Steps:
        if not under.changes_lines or not path.is_file():
            return
        before = path.with_name(f".{path.name}.before")
        status = path.stat()
        path.rename(before)
        with opened(before) as fd:
            yield from self._shop.write(path, references.lines(fd, under), int(status.st_mtime))
        before.unlink()

    def _is_here_unbuilt(
        self, kept: Names, described: bytes, others: Mapping[str, Entry]
    ) -> Generator[int, None, bool]:
        """Whether all of it is here and nothing has another name: an import that is repeated need not be built."""
        name, messages = kept.thread, others.get(layout.MESSAGES_FILE)
        if (
            kept.changes_lines
            or kept.stores
            or messages is None
            or not messages.size_bytes
            or names.usable(ThreadId, name) != name
        ):
            return False
        if name in self.planned or not self._threads.is_taken(name):
            return False
        here = self._folder_of(name)
        if not _says_the_same(jsontext.load_object(described), jsonfile.read(here / layout.THREAD_FILE)):
            return False
        for inner, entry in others.items():
            if not (yield from self._has(here, inner, partial(self._shop.pieces, entry))):
                return False
        return True

    def _has(self, here: Path, inner: str, pieces: Callable[[], Iterator[bytes]]) -> Generator[int, None, bool]:
        """Whether a thread's folder has a file with these bytes, and more where lines are added to it."""
        if (yield from is_same(here / inner, pieces(), may_go_on=inner in _GROWING)):
            return True
        return inner == layout.RUNS_FILE and (yield from are_shared_runs(here / inner, pieces()))

    def _keep_others(self, name: str, draft: Draft, under: Names) -> Steps:
        """Set aside what a thread that is here does not have, or has otherwise: nothing of an archive is lost."""
        here = self._folder_of(name)
        for path in sorted(path for path in draft.home.rglob("*") if path.is_file()):
            inner = str(path.relative_to(draft.home))
            with opened(path) as ours:
                has_it = yield from self._has(here, inner, partial(_lines_of, ours, under, inner))
            if not has_it:
                yield from self._shop.quarantine_built(path, f"{draft.path or draft.old}/{inner}", _DIFFERS)
        if not draft.path:  # another product's: its description was made here
            return
        described = jsontext.load_object(draft.file or b"")
        if described is not None and not _says_the_same(
            references.thread_object(described, under), jsonfile.read(here / layout.THREAD_FILE)
        ):
            yield from self._shop.set_aside(f"{draft.path}/{layout.THREAD_FILE}", draft.file or b"", _DIFFERS)

    def _folder_of(self, name: str) -> Path:
        """The folder of a thread that is here; of a link, which is not followed, one that is nowhere."""
        try:
            return self._layout.thread(ThreadId(name))
        except InvalidArgumentError:
            return self._shop.folder / "nowhere"

    def _is_here(self, name: str, draft: Draft, under: Names) -> bool:
        """Whether the thread of this name is the same one: it begins with the same messages, and may go on."""
        here = self._folder_of(name)
        with opened(draft.home / layout.MESSAGES_FILE) as ours, opened(here / layout.MESSAGES_FILE) as theirs:
            if ours >= 0 and os.fstat(ours).st_size:
                return theirs >= 0 and _begins_with(theirs, references.lines(ours, under))
        described = jsontext.load_object(draft.file or b"")
        if described is None:
            return False
        return references.thread_object(described, under) == jsonfile.read(here / layout.THREAD_FILE)


def _says_the_same(theirs: JsonObject | None, here: JsonObject | None) -> bool:
    """Whether a thread.json that is here says all that theirs does, but for when it last changed."""
    if theirs is None or here is None:
        return theirs is None
    return all(key in _CHANGES or (key in here and here[key] == value) for key, value in theirs.items())


def _lines_of(fd: int, under: Names, inner: str) -> Iterator[bytes]:
    return references.lines(fd, under) if inner in _GROWING else references.as_it_is(fd)


def _begins_with(fd: int, pieces: Iterator[bytes]) -> bool:
    offset = 0
    for piece in pieces:
        if os.pread(fd, len(piece), offset) != piece:
            return False
        offset += len(piece)
    return True


def _count(path: Path) -> int:
    """How many objects there are in a messages.jsonl."""
    with opened(path) as fd:
        return sum(segment.value is not None for segment in jsonl.segments(fd)) if fd >= 0 else 0


def _own_name(data: bytes | None) -> str:
    """The name of a thread that lies in no folder: what its file calls it, or one of its time."""
    raw = jsontext.load_object(data or b"") or {}
    made_ms = fields.time_ms(raw, "created", "created_at") or 0
    return fields.text(raw, "id") or f"jan_{made_ms // 1000}"

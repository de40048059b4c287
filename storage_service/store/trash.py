"""What was deleted, whole, until its time is over: `.server/trash/<kind>-<milliseconds>-<random>/<what it was called>`.

What a deleted thread stood in front of goes along, into `.shadowed/` beside it, at its path below `threads/`.

A deletion is a folder of its own whose name says what and when, so that it needs no record beside it: one rename
deletes a thread, one rename brings it back, and a crash finds it in the one place or in the other.
"""

import contextlib
import os
import re
import secrets
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path, PurePath, PurePosixPath
from urllib.parse import quote, unquote

from jan.errors import FailedPreconditionError, NotFoundError, StorageFullError
from jan.ids import ThreadId, TrashId
from jan.telemetry import get_logger
from storage_service.store import atomic, jsonfile, layout
from storage_service.store.clock import Clock, Stopwatch, TwoLooks
from storage_service.store.forms import fields
from storage_service.store.paging import Page, PageQuery, cut
from storage_service.store.places import holds_thread
from storage_service.store.records import TrashEntry, TrashItem

logger = get_logger(__name__)

DAY_MS = 86_400_000
DEFAULT_DAYS = 30
SHOWN_ITEMS = 100

THREAD = "thread"
THREADS = "threads"  # all of them, at once
MESSAGES = "messages"  # of a thread that was cleared
ASSISTANT = "assistant"
MODEL = "model"
JANROOT = "janroot"  # that a restore replaced

_MODELS = "models/"
_MODEL_PLACE = re.compile(r"((llamacpp|mlx|assistants/[^/]+)/)?models/.")
_SHADOWED = ".shadowed"

_NAME = re.compile(f"({THREAD}|{THREADS}|{MESSAGES}|{ASSISTANT}|{MODEL}|{JANROOT})-([0-9]{{1,15}})-[0-9a-f]{{8}}")


class Deletion:
    """One deletion under way: `put` what goes, then `finish`. Nothing is made when nothing is put."""

    def __init__(self, place: Path, note: Callable[[str], None]) -> None:
        self._place = place
        self._note = note
        self._homes: set[Path] = set()

    @property
    def id(self) -> TrashId | None:
        """The entry in the trash; None while it holds nothing."""
        return TrashId(self._place.name) if self._homes else None

    def put(self, path: Path, below: str = "", name: str = "") -> None:
        """Move a file or folder into the trash, into a folder named `below` there. Durable with `finish`.

        name: what it is called there, if not as it was.
        """
        self._note(below or name or path.name)
        self._move(path, self._place / below, name)

    def put_shadowed(self, path: Path, home: Path) -> None:
        """Move a thread into the trash that has the name of one that goes, and lies elsewhere below `home`."""
        self._move(path, self._place / _SHADOWED / path.relative_to(home).parent)

    def _move(self, path: Path, target: Path, name: str = "") -> None:
        atomic.make_dir(target)
        atomic.move(path, target / (name or path.name))
        self._homes |= {path.parent, target}

    def finish(self) -> None:
        """Make durable what was put."""
        for folder in self._homes:
            atomic.sync_dir(folder)


class Trash:
    """Take deleted things, list them, bring them back, and remove them when their time is over."""

    def __init__(self, where: layout.Layout, clock: Clock, keep_days: int, stopwatch: Stopwatch) -> None:
        self._layout = where
        self._clock = clock
        self._keep_ms = keep_days * DAY_MS
        self._looks = TwoLooks(stopwatch)
        # Only ever grows while we run: a name that came back or went for good may well stay taken.
        self._names = set(_names_below(where.trash))

    def begin(self, kind: str) -> Deletion:
        """Start a deletion."""
        return Deletion(self._layout.trash / self.new_name(kind), self._names.add)

    def new_name(self, kind: str) -> str:
        """A name for a deletion that is made elsewhere."""
        return f"{kind}-{self._clock():013}-{secrets.token_hex(4)}"

    def get(self, trash_id: TrashId) -> TrashEntry:
        """What is known of a deletion. Raises NotFoundError."""
        if trash_id not in self._entries():
            raise NotFoundError(f"No trash entry found with id '{trash_id:.64}'.")
        return self._read(trash_id)

    def holds(self, name: str) -> bool:
        """Whether something of this name was deleted: its name is not given again, for clients may know it."""
        return name in self._names

    def page(self, query: PageQuery) -> Page[TrashEntry]:
        """One page of deletions by their time. Raises InvalidArgumentError: see `paging.cut`."""
        names = self._entries()
        index = {name: position for position, name in enumerate(names)}
        page = cut(names, query, index.get)
        return Page(tuple(map(self._read, page.items)), page.has_more)

    def restore(self, trash_id: TrashId) -> tuple[TrashEntry, Sequence[str]]:
        """Put everything of a deletion back where it was; answers what it was and all its names. Durable on return.

        Raises NotFoundError. FailedPreconditionError: a name is taken, or the thread of cleared messages is gone or
        has others; then nothing is moved. After a crash some may be back and the rest still here.
        """
        entry = self.get(trash_id)
        moves = list(self._moves(self._layout.trash / trash_id, entry.kind))
        shadowed = list(_shadowed(self._layout.trash / trash_id / _SHADOWED, self._layout.threads))
        for _, target in moves:
            if not self._may_come_back(target, entry.kind):
                raise _no_place(target)
        for _, target in shadowed:
            if not _is_free(target, self._layout.threads):
                raise _no_place(target)
        for _, target in moves if entry.kind == MODEL else shadowed:
            atomic.make_dir(target.parent)
        names = _items_in(self._layout.trash / trash_id)
        moves += shadowed
        for source, target in moves:
            atomic.move(source, target)
        for folder in {path.parent for move in moves for path in move}:
            atomic.sync_dir(folder)
        with contextlib.suppress(StorageFullError):  # Everything is back; an empty entry is shown to nobody.
            self._forget(trash_id)
        return entry, names

    def holds_model(self, trash_id: TrashId) -> bool:
        """Whether an entry is a deleted model."""
        return trash_id.startswith(f"{MODEL}-")

    def threads_changed_by(self, trash_id: TrashId) -> Sequence[str]:
        """The threads that exist and would change if a deletion were undone: those of cleared messages."""
        return _items_in(self._layout.trash / trash_id) if trash_id.startswith(f"{MESSAGES}-") else ()

    def delete(self, trash_id: TrashId) -> None:
        """Remove a deletion for good; its names are not given again while we run. Raises NotFoundError."""
        self.get(trash_id)
        self._forget(trash_id)

    def delete_all(self) -> int:
        """Remove every deletion for good; answers how many."""
        names = self._entries()
        for name in names:
            self._forget(name)
        return len(names)

    def empty(self) -> int:
        """Remove the deletions whose time is over, see `TwoLooks`; answers how many. Raises what the disk says."""
        now_ms = self._clock()
        over = self._looks.confirmed(name for name in self._entries() if _deleted_ms(name) + self._keep_ms <= now_ms)
        for name in over:
            self._forget(name)
        if over:
            logger.info("trash emptied", entries=len(over))
        return len(over)

    def _moves(self, folder: Path, kind: str) -> Iterable[tuple[Path, Path]]:
        home = self._layout.assistants if kind == ASSISTANT else self._layout.threads
        for item in _items_in(folder):
            if kind == MODEL:
                yield folder / item, self._layout.root / _model_place(item)
            elif kind != MESSAGES:
                yield folder / item, home / item
            else:
                for name in _names_in(folder / item):
                    yield folder / item / name, self._layout.thread(ThreadId.parse(item)) / name

    def _may_come_back(self, target: Path, kind: str) -> bool:
        if kind == MODEL:  # which may have lain in folders that are gone
            return _is_free(target, self._layout.root)
        return not os.path.lexists(target) and target.parent.is_dir()

    def _forget(self, name: str) -> None:
        """Remove an entry with what is left in it; aside first, so that a crash leaves no half one to bring back."""
        aside = self._layout.staging / name
        atomic.rename(self._layout.trash / name, aside)
        atomic.remove_tree(aside)

    def _read(self, name: str) -> TrashEntry:
        folder = self._layout.trash / name
        kind = name.partition("-")[0]
        items = _items_in(folder / "threads" if kind == JANROOT else folder)
        return TrashEntry(
            id=TrashId(name),
            kind=kind,
            deleted_ms=_deleted_ms(name),
            expires_ms=_deleted_ms(name) + self._keep_ms,
            count=len(items),
            items=tuple(TrashItem(_shown(kind, item), _title(folder / item)) for item in items[:SHOWN_ITEMS]),
        )

    def _entries(self) -> list[str]:
        """The names of all deletions that hold something, oldest first."""
        names = [name for name in _names_in(self._layout.trash) if _NAME.fullmatch(name)]
        return sorted(filter(self._holds_something, names), key=lambda name: (_deleted_ms(name), name))

    def _holds_something(self, name: str) -> bool:
        return bool(_names_in(self._layout.trash / name))


def _names_below(folder: Path) -> Iterable[str]:
    """The names of all that was deleted; earlier versions put it straight into the trash."""
    for name in _names_in(folder):
        yield name
        if _NAME.fullmatch(name):
            yield from _items_in(folder / name)


def _names_in(folder: Path) -> Sequence[str]:
    try:
        return sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return ()


def _items_in(entry: Path) -> Sequence[str]:
    """What a deletion was about; what went along is not told."""
    return [name for name in _names_in(entry) if name != _SHADOWED]


def model_item(place: PurePath) -> str:
    """What a model, or a file of one, is called in the trash: its place below `models/` as one name.

    One from elsewhere has its place below the janroot behind a slash. Slashes are written as in URLs.
    """
    text = str(place)
    return quote(text.removeprefix(_MODELS) if text.startswith(_MODELS) else f"/{text}", safe="")


def _model_place(item: str) -> PurePath:
    """Where an item belongs, relative to the janroot. Raises FailedPreconditionError: nowhere that models lie.

    A name may come from a backup that a stranger made.
    """
    text = unquote(item)
    place = PurePosixPath(text.lstrip("/")) if text.startswith("/") else PurePosixPath(_MODELS) / text
    if ".." in place.parts or "\0" in text or not _MODEL_PLACE.match(str(place)):
        raise FailedPreconditionError(f"'{item[:200]}' cannot be put back: no model lies at such a place.")
    return place


def _shown(kind: str, item: str) -> str:
    return unquote(item).lstrip("/") if kind == MODEL else item


def _shadowed(folder: Path, home: Path) -> Iterable[tuple[Path, Path]]:
    """What lay in the shadow of a deleted thread, and where."""
    for path in map(folder.joinpath, _names_in(folder)):
        if path.is_dir() and not holds_thread(path):
            yield from _shadowed(path, home / path.name)
        else:
            yield path, home / path.name


def _is_free(place: Path, home: Path) -> bool:
    """Whether a thread may be put somewhere below `home`: nothing is there, and only folders, if any, on the way."""
    on_the_way = (home / part for part in place.relative_to(home).parents)
    return not os.path.lexists(place) and all(
        not os.path.lexists(folder) or (folder.is_dir() and not folder.is_symlink()) for folder in on_the_way
    )


def _no_place(target: Path) -> FailedPreconditionError:
    return FailedPreconditionError(f"'{target.name}' cannot be put back: its place is taken or gone.")


def _deleted_ms(name: str) -> int:
    return int(name.split("-")[1])


def _title(folder: Path) -> str:
    """A thread's title, or an assistant's or a model's name, as far as it can be told."""
    thread = jsonfile.read(folder / layout.THREAD_FILE) or {}
    assistant = jsonfile.read(folder / layout.ASSISTANT_FILE) or {}
    model = jsonfile.read(folder / layout.MODEL_FILE) or {}
    return (
        fields.text(thread, "title")
        or fields.text(fields.obj(thread, "metadata"), "title")
        or fields.text(assistant, "name")
        or fields.text(model, "name")
    )

"""What is unusual in threads/."""

import os
from collections.abc import Iterator
from pathlib import Path

from jan.errors import InvalidArgumentError
from jan.ids import ThreadId
from storage_service.store import flat, jsonfile, layout
from storage_service.store.forms import threads as form
from storage_service.store.messages import first_ms
from storage_service.store.places import holds_thread, nested_threads
from storage_service.store.records import JsonObject
from storage_service.store.report import messages, runs
from storage_service.store.report.findings import Finding, Kind
from storage_service.store.report.walk import entries, is_foreign, odd_ones, starts_with_mark


def inspect(where: layout.Layout) -> Iterator[Finding]:
    """Everything below threads/."""
    for entry in entries(where.threads):
        place = f"threads/{entry.name}"
        if entry.is_symlink():
            yield Finding(place, Kind.LINK)
        elif entry.is_dir():
            yield from _folder(where, Path(entry.path), place)
        elif flat.is_flat(Path(entry.path)):
            yield from _flat(where, Path(entry.path), place)
        else:
            yield Finding(place, Kind.STRAY_FILE)


def _folder(where: layout.Layout, folder: Path, place: str) -> Iterator[Finding]:
    if not os.access(folder, os.R_OK | os.X_OK):
        yield Finding(place, Kind.UNREADABLE)
        return
    is_thread = holds_thread(folder)
    nested = list(_nested(where, folder, is_inside_thread=is_thread))
    yield from nested
    if not is_thread:
        odd = list(_odd_ones(folder, place))
        yield from odd
        if not nested and not odd:
            yield Finding(place, Kind.GHOST_FOLDER)
    elif is_foreign(ThreadId, folder.name):
        yield Finding(place, Kind.FOREIGN_NAME)
    else:
        yield from _thread(folder, place)


def _thread(folder: Path, place: str) -> Iterator[Finding]:
    if folder.name.startswith("undefined_"):
        yield Finding(place, Kind.UNDEFINED_ASSISTANT)
    path = folder / layout.THREAD_FILE
    raw = jsonfile.read(path)
    if raw is not None:
        yield from _thread_file(folder, raw, f"{place}/{path.name}")
    elif not os.path.lexists(path):
        yield Finding(place, Kind.NO_THREAD_FILE)
    elif path.is_symlink() or not path.is_file():
        pass  # one of the odd ones
    elif not os.access(path, os.R_OK):
        yield Finding(f"{place}/{path.name}", Kind.UNREADABLE)
    else:
        yield Finding(f"{place}/{path.name}", Kind.INVALID_JSON)
    yield from _odd_ones(folder, place)
    yield from messages.inspect(folder, place)
    yield from runs.inspect(folder, place)


def _odd_ones(folder: Path, place: str) -> Iterator[Finding]:
    return odd_ones(folder, place, layout.LIVE_FILES, (layout.FILES_FOLDER,))


def _thread_file(folder: Path, raw: JsonObject, place: str) -> Iterator[Finding]:
    own_id = raw.get("id")
    if own_id is not None and own_id != folder.name:
        yield Finding(place, Kind.ID_MISMATCH, f"id {str(own_id)[:128]!r}")
    if starts_with_mark(folder / layout.THREAD_FILE):
        yield Finding(place, Kind.BYTE_ORDER_MARK)
    if raw.get("messages") and (folder / layout.MESSAGES_FILE).exists():
        yield Finding(place, Kind.MESSAGES_TWICE)
    if form.forgets_creation(raw):
        first = first_ms(folder / layout.MESSAGES_FILE)
        claimed = form.from_json(ThreadId(folder.name), raw, flat.made_ms(folder)).created_ms
        if first is not None and first < claimed:
            yield Finding(place, Kind.CREATED_LATER)


def _flat(where: layout.Layout, path: Path, place: str) -> Iterator[Finding]:
    thread_id = path.stem
    try:
        folder = where.thread(ThreadId.parse(thread_id))
    except InvalidArgumentError:
        yield Finding(place, Kind.FOREIGN_NAME)
        return
    if folder.is_dir() and holds_thread(folder):
        yield Finding(place, Kind.SHADOWED, "by the folder of the same name")
        return
    yield Finding(place, Kind.FLAT_THREAD)
    raw = jsonfile.read(path)
    if raw is None:
        yield Finding(place, Kind.INVALID_JSON)
        return
    listed = raw.get("messages")
    strange = [item for item in listed if not isinstance(item, str | dict)] if isinstance(listed, list) else []
    if strange:
        yield Finding(place, Kind.FOREIGN_LINE, f"{len(strange)} of its messages")


def _nested(where: layout.Layout, folder: Path, *, is_inside_thread: bool) -> Iterator[Finding]:
    """Threads below a folder, wherever people put them."""
    for inner in nested_threads(folder):
        place = str(inner.relative_to(where.root))
        if is_foreign(ThreadId, inner.name):
            yield Finding(place, Kind.FOREIGN_NAME)
            continue
        if not is_inside_thread:
            # One that was put there since the last look at threads/ is found here first.
            where.nested.setdefault(inner.name, inner)
        if where.thread(ThreadId(inner.name)) != inner:
            yield Finding(place, Kind.HIDDEN_THREAD)
        else:
            yield Finding(place, Kind.NESTED_THREAD)
            yield from _thread(inner, place)

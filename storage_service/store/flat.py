"""Threads whose messages lie inside a JSON file: the drafts of November 2023, before messages.jsonl.

The first draft had one flat file a thread, `threads/<assistant id>_<unix seconds>.json`; the next one folders whose
thread.json still held `messages`. Both are read where they are. The first write gives the thread the form of every
release; what it replaces is kept in `.server/converted/`.
"""

import os
import re
import time
from pathlib import Path

from jan.ids import ThreadId
from storage_service.store import atomic, copies, jsonfile, jsonl, layout
from storage_service.store.forms import drafts
from storage_service.store.forms import threads as form

# Only names of this shape are threads: any other .json in the folder is somebody's stray file.
_NAME = re.compile(r"(?P<id>.+_[0-9]{9,10})\.json")


def name_of(entry: "os.DirEntry[str]") -> str | None:
    """The thread that an entry of `threads/` may stand for: a folder's name, or a flat file's without its ending."""
    if entry.is_dir(follow_symlinks=False):
        return entry.name
    return id_of(entry.name) if entry.is_file(follow_symlinks=False) else None


def id_of(name: str) -> str | None:
    """The thread that a file of this name may be; None for a name that no flat thread has."""
    match = _NAME.fullmatch(name)
    return match["id"] if match else None


def is_flat(path: Path) -> bool:
    """Whether the path is a flat thread."""
    return _NAME.fullmatch(path.name) is not None and path.is_file() and not path.is_symlink()


def messages_inside(thread_id: ThreadId, path: Path) -> bytes:
    """The messages in a thread's own file as the lines of a messages.jsonl; nothing when it holds none."""
    raw = jsonfile.read(path) or {}
    lines = drafts.message_lines(thread_id, raw, made_ms(path))
    return b"".join(map(jsonl.encode, lines))


def to_folder(where: layout.Layout, thread_id: ThreadId) -> Path:
    """Give a flat thread its folder, whole and durably, and keep the flat file in `.server/converted/`.

    A crash on the way leaves the flat file, or the folder beside it, which then counts; `finish` takes the rest away.
    Raises StorageFullError.
    """
    path, folder = where.flat_thread(thread_id), where.thread(thread_id)
    raw = jsonfile.read(path) or {}
    thread = form.from_json(thread_id, raw, made_ms(path))
    staged = where.staging / folder.name
    atomic.remove_tree(staged)
    atomic.claim_dir(staged)
    try:
        jsonfile.write(staged / layout.THREAD_FILE, drafts.thread_file(raw, thread))
        lines = messages_inside(thread_id, path)
        if lines:
            atomic.replace(staged / layout.MESSAGES_FILE, [lines])
        kept = _keep(where, path)
        atomic.publish(staged, folder)
    except BaseException:
        atomic.remove_tree(staged)
        raise
    _retire(path, kept)
    return folder


def finish(where: layout.Layout) -> None:
    """Take away flat files whose conversion a crash cut short: kept aside, and with a folder in their place."""
    for kept in where.converted.iterdir():
        path = where.threads / kept.name
        if is_flat(path) and path.with_suffix("").is_dir():
            _retire(path, kept)


def made_ms(path: Path) -> int:
    """When a thread's folder or flat file was made, as far as it can be told: by its name, else by its own time.

    Names hold seconds; one before Jan existed lost a digit, as the draft's own example had.
    """
    suffix = _SECONDS.search(path.stem if path.suffix == ".json" else path.name)
    seconds = int(suffix[1]) if suffix else 0
    return seconds * 1000 if seconds >= _FIRST_SECOND else jsonfile.changed_ms(path) or 0


_SECONDS = re.compile(r"_([0-9]{9,10})(?:-[0-9]+)?$")
_FIRST_SECOND = 1_000_000_000


def _keep(where: layout.Layout, path: Path) -> Path:
    """Put a flat file's bytes into `.server/converted/`, unless an attempt that broke off did so already."""
    kept = where.converted / path.name
    if os.path.lexists(kept):
        if kept.read_bytes() == path.read_bytes():
            return kept
        kept = kept.with_suffix(f".{time.time_ns()}.json")
    copies.link_or_copy(path, kept)
    return kept


def _retire(path: Path, kept: Path) -> None:
    """Remove a flat file of which `kept` is the copy; one that was changed since stays, and is reported."""
    if path.read_bytes() == kept.read_bytes():
        path.unlink()
        atomic.sync_dir(path.parent)

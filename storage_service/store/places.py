"""Where threads lie: in a folder, in a flat file of 2023, or in a folder that somebody put into another one.

Users sort their threads into folders by hand (janhq/jan #2709). Such a thread is served under its folder's own name.
"""

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from jan.telemetry import get_logger
from storage_service.store import flat, layout

logger = get_logger(__name__)

MAX_DEPTH = 3
# Folders of a thread's own, or of other programs: no threads in there.
_CLOSED = frozenset({"files", "memory"})
_NOT_THERE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})


class Places:
    """Finds threads below `threads/`, and notes in the layout where the nested ones are."""

    def __init__(self, where: layout.Layout) -> None:
        self._layout = where
        # Looking into 100,000 folders takes half a second, and a thread's folder stays one.
        self._plain: set[str] = set()

    def names_of(self, entry: "os.DirEntry[str]") -> list[str]:
        """The ids that an entry of `threads/` may stand for: its own, and those of threads below it."""
        name = flat.name_of(entry)
        if name is None or not entry.is_dir(follow_symlinks=False) or name in self._plain:
            return [] if name is None else [name]
        folder = Path(entry.path)
        if holds_thread(folder):
            self._plain.add(name)
            return [name]
        inners = [*nested_threads(folder)]
        for inner in inners:
            self._layout.nested[inner.name] = inner
            self._layout.sorted_into.add(inner.parent)
        return [name, *{inner.name for inner in inners}]


def holds_thread(folder: Path) -> bool:
    """A folder with neither file is none of ours: an empty one, a name being claimed, or one closed to us."""
    try:
        return any(_is_file(f"{folder}/{name}") for name in (layout.THREAD_FILE, layout.MESSAGES_FILE))
    except PermissionError:
        logger.warning("folder skipped: not allowed to look inside", folder=folder.name)
        return False


def _is_file(path: str) -> bool:
    """What `Path.is_file` tells, without making a Path: this is asked of every thread, and at every call."""
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except OSError as error:
        if error.errno in _NOT_THERE:
            return False
        raise


def nested_threads(folder: Path, depth: int = 1) -> Iterator[Path]:
    """The threads below a folder, wherever people put them; links are not followed."""
    try:
        with os.scandir(folder) as entries:
            found = sorted(entry.path for entry in entries if entry.is_dir(follow_symlinks=False))
    except OSError:
        return
    for inner in map(Path, found):
        if inner.name in _CLOSED:
            continue
        if holds_thread(inner):
            yield inner
        elif depth < MAX_DEPTH:
            yield from nested_threads(inner, depth + 1)

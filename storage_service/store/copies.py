"""Files and folders that get a second place: copied, or linked where that is enough; by the recipes of `atomic.py`."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from storage_service.store import atomic, plain


@atomic.telling_no_room()
def copy_tree(source: Path, target: Path) -> None:
    """Copy the plain files and folders below `source`, durably but for the name of `target`; links are left out."""
    target.mkdir(exist_ok=True)
    with os.scandir(source) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                copy_tree(Path(entry.path), target / entry.name)
            elif entry.is_file(follow_symlinks=False):
                copy_file(Path(entry.path), target / entry.name)
    atomic.sync_dir(target)


@atomic.telling_no_room()
def copy_file(source: Path, target: Path) -> None:
    """Copy one file, durably but for its name."""
    with open(plain.open_file(source, os.O_RDONLY), "rb") as data:
        atomic.write_new(target, iter(lambda: data.read(1024 * 1024), b""))


def written_unsynced(path: Path, chunks: Iterable[bytes]) -> Iterator[int]:
    """Write a file where nothing is yet, a piece at a time, answered with its length; see `bulk` for its durability.

    Nothing is left of a file that cannot be finished. Raises FileExistsError, and whatever `chunks` raises.
    StorageFullError: no room.
    """
    draft = atomic.Draft(path)
    try:
        for chunk in chunks:
            draft.write(chunk)
            yield len(chunk)
    except BaseException:
        draft.discard()
        raise
    draft.close()


@atomic.telling_no_room()
def link_or_copy(source: Path, target: Path) -> None:
    """Give a large read-only file a second name, or copy it when the file system refuses links. Durable."""
    try:
        os.link(source, target)
    except OSError:
        with open(source, "rb") as data:  # which may be a link itself: the wheel's or the user's
            atomic.write_new(target, iter(lambda: data.read(1024 * 1024), b""))
    atomic.sync_dir(target.parent)


@atomic.telling_no_room()
def link_or_point(source: Path, target: Path) -> None:
    """Give a large read-only file a second name, or a symbolic link to it from another file system; never a copy."""
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno in atomic.NO_ROOM:
            raise
        os.symlink(source, target)
    atomic.sync_dir(target.parent)

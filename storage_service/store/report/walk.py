"""Looking into folders without stumbling over what is in them."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from jan.errors import InvalidArgumentError
from jan.ids import Id
from storage_service.store.report.findings import Finding, Kind


def entries(folder: Path) -> list["os.DirEntry[str]"]:
    """What is in a folder, by name; nothing when there is none, or when we may not look."""
    try:
        with os.scandir(folder) as found:
            return sorted(found, key=lambda entry: entry.name)
    except OSError:
        return []


def odd_ones(folder: Path, place: str, files: tuple[str, ...], folders: tuple[str, ...]) -> Iterator[Finding]:
    """What is neither the file or folder that its name stands for, nor anything else that is one or the other."""
    for entry in entries(folder):
        inner, mode = f"{place}/{entry.name}", entry.stat(follow_symlinks=False).st_mode
        if stat.S_ISLNK(mode):
            if entry.name in (*files, *folders):
                yield Finding(inner, Kind.LINK)
        elif entry.name in files:
            if not stat.S_ISREG(mode):
                yield Finding(inner, Kind.NOT_A_FILE)
        elif not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
            yield Finding(inner, Kind.STRAY_FILE, "a named pipe, a socket or a device")


def is_foreign(id_type: type[Id], name: str) -> bool:
    """Whether a name cannot be an id of this kind."""
    try:
        id_type.parse(name)
    except InvalidArgumentError:
        return True
    return False


def starts_with_mark(path: Path) -> bool:
    """Whether a file begins with UTF-8's byte order mark."""
    try:
        with open(path, "rb") as file:
            return file.read(3) == b"\xef\xbb\xbf"
    except OSError:
        return False


def some(items: list[str], most: int = 5) -> str:
    """The first few of many, for a sentence."""
    more = len(items) - most
    return ", ".join(items[:most]) + (f" and {more} more" if more > 0 else "")

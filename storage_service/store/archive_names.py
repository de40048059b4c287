"""The names in an archive: which ones may become files, and how one is told to a person.

A name is a stranger's text that is about to become a path. Nothing is repaired: `zipfile`, for one, drops `../` and
cuts a name at NUL in silence, so that what is written is not what the archive says.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable

from jan.errors import InvalidArgumentError

UNSAFE = "unsafe_archive"

_SHOWN = 80
_DRIVE = re.compile(r"[A-Za-z]:")
# Control characters, those that turn the direction of what a person reads, and Windows' separator.
_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\\]")


def decode(raw: bytes) -> str:
    """A name's text. Old zips do not say which encoding; most programs mean UTF-8. Raises InvalidArgumentError."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise unsafe(raw.decode("ascii", "backslashreplace"), "its name is not UTF-8") from None


def check(name: str, *, most_bytes: int, most_levels: int, most_segment_bytes: int = 255) -> None:
    """Let a name pass that can be a path below a folder of ours. Raises InvalidArgumentError."""
    segments = name.removesuffix("/").split("/")
    if len(name.encode()) > most_bytes or len(segments) > most_levels:
        raise unsafe(name, "its name is too long or too deep")
    if _FORBIDDEN.search(name):
        raise unsafe(name, "its name has a backslash or a control character")
    if name.startswith("/") or _DRIVE.match(name):
        raise unsafe(name, "its name is an absolute path")
    if any(segment in ("", ".", "..") for segment in segments):
        raise unsafe(name, "its name leads out of the archive or has an empty part")
    if any(len(segment.encode()) > most_segment_bytes for segment in segments):
        raise unsafe(name, "a part of its name is too long")


def check_apart(names: Iterable[str], *, twins: bool = False) -> None:
    """See that no two names can mean one file: equal, equal but for case or accents, a file that is also a folder.

    `twins`: names that differ in case or accents are two. Raises InvalidArgumentError.
    """
    fold = str if twins else _same
    entries: dict[str, str] = {}
    folders: dict[str, str] = {}
    for name in names:
        key = fold(name)
        if key in entries:
            raise unsafe(name, "another entry has its name, or one that differs only in case or accents")
        entries[key] = name
        _note_folders(folders, name.rpartition("/")[0], fold)
    for folded in folders.keys() & entries.keys():
        raise unsafe(entries[folded], "it is a file and a folder at once")


def unsafe(name: str, reason: str) -> InvalidArgumentError:
    """The refusal of an archive for one of its entries."""
    return InvalidArgumentError(f"The archive is not safe to open: {reason}: {shown(name)}.", code=UNSAFE)


def shown(name: str) -> str:
    """A name as a sentence may repeat it: printable ASCII in quotes, cut at a length."""
    cut = name if len(name) <= _SHOWN else name[:_SHOWN] + "..."
    return ascii(cut)


def _note_folders(folders: dict[str, str], folder: str, fold: Callable[[str], str]) -> None:
    """Remember how a folder and those above it are spelled; a folder that is known has known ones above it."""
    while folder:
        key = fold(folder)
        if key in folders:
            if folders[key] != folder:
                raise unsafe(folder, "another folder's name differs from its own only in case or accents")
            return
        folders[key] = folder
        folder = folder.rpartition("/")[0]


def _same(name: str) -> str:
    """Equal for names that some file system takes for one."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).casefold())

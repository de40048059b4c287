"""What a stranger sent as an assistant, made into a folder that can be put in its place.

It is a zip file of an assistant's folder, or an assistant.json alone; the bytes say which, not a name or a type. What
lies beside the description (`package.json`, `src/index.js`, models, anything) is kept as it is and never run.
"""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from jan.errors import InvalidArgumentError
from storage_service.store import atomic, jsonfile, layout
from storage_service.store.archive import Archive, ArchiveLimits, Entry
from storage_service.store.archive_directory import MEBIBYTE
from storage_service.store.records import JsonObject

LIMITS = ArchiveLimits(entries=20_000, total_bytes=1024 * MEBIBYTE, directory_bytes=4 * MEBIBYTE)

_ZIP = (b"PK\3\4", b"PK\5\6")
# What macOS puts beside the folder that was zipped.
_NOT_OURS = "__MACOSX/"
INVALID = "invalid_assistant"


@dataclass(frozen=True, slots=True)
class AssistantFolder:
    """A folder in `staging/` with an assistant.json, durable but for its name. `name` is the sender's name for it."""

    path: Path
    name: str
    description: JsonObject


def unpack(sent: Path, into: Path) -> AssistantFolder:
    """Make the folder `into`; what was sent lies there, or one level below.

    Raises InvalidArgumentError: not an assistant, or a hostile archive. StorageFullError. The caller removes `into`.
    """
    with sent.open("rb") as file:
        start = file.read(4)
    return _from_zip(sent, into) if start in _ZIP else _from_json(sent, into)


def same(one: Path, other: Path) -> bool:
    """Whether two folders hold the same files with the same bytes."""
    files = dict(_files(one))
    if files != dict(_files(other)) or -1 in files.values():
        return False
    return all(_same_bytes(one / path, other / path) for path in files)


def _from_json(sent: Path, into: Path) -> AssistantFolder:
    description = jsonfile.read(sent)
    if description is None:
        raise InvalidArgumentError("This is neither a zip file nor a JSON object, so no assistant.", code=INVALID)
    atomic.make_dir(into)
    jsonfile.write(into / layout.ASSISTANT_FILE, description)
    return AssistantFolder(into, "", description)


def _from_zip(sent: Path, into: Path) -> AssistantFolder:
    with Archive(sent, LIMITS) as archive:
        place = _description_in(archive.files())
        archive.extract_all(into)
    folder = into / os.path.dirname(place)
    path = folder / layout.ASSISTANT_FILE
    if os.path.basename(place) != layout.ASSISTANT_FILE:  # the draft of 2023 called it as its folder
        atomic.rename(into / place, path)
    description = jsonfile.read(path)
    if description is None:
        raise InvalidArgumentError(f"'{layout.ASSISTANT_FILE}' in the archive is no JSON object.", code=INVALID)
    return AssistantFolder(folder, os.path.dirname(place), description)


def _description_in(files: Iterator[Entry]) -> str:
    """Where the one description of the archive is: at its top, or in the one folder there."""
    names = [entry.name for entry in files if not entry.name.startswith(_NOT_OURS)]
    folders = {name.partition("/")[0] for name in names if "/" in name}
    usual = [name for name in names if name.rpartition("/")[2] == layout.ASSISTANT_FILE and name.count("/") <= 1]
    drafts = [name for name in (f"{folder}/{folder}.json" for folder in sorted(folders)) if name in names]
    if layout.ASSISTANT_FILE in usual:
        return layout.ASSISTANT_FILE
    found = usual or drafts
    if len(found) != 1:
        told = "no" if not found else "more than one"
        raise InvalidArgumentError(
            f"The archive has {told} {layout.ASSISTANT_FILE}; send the folder of one assistant.", code=INVALID
        )
    return found[0]


def _files(folder: Path) -> Iterator[tuple[str, int]]:
    """Every file's path and length; -1 for what is no plain file, which is never opened."""
    for home, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(home, name)
            status = os.lstat(path)
            yield os.path.relpath(path, folder), status.st_size if stat.S_ISREG(status.st_mode) else -1


def _same_bytes(one: Path, other: Path) -> bool:
    with one.open("rb") as first, other.open("rb") as second:
        while data := first.read(MEBIBYTE):
            if data != second.read(len(data)):
                return False
        return True

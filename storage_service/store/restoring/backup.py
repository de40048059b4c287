"""A backup's zip: checked, and unpacked into a folder aside."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

import orjson

from jan.errors import InvalidArgumentError
from storage_service.store.archive import Archive, ArchiveLimits, Entry
from storage_service.store.archive_directory import INVALID, invalid
from storage_service.store.archive_names import unsafe
from storage_service.store.bulk import Bulk
from storage_service.store.exports.janroot import FORM_VERSION
from storage_service.store.exports.rules import KEPT_OF_SERVER, MAX_LEVELS, SERVER, STAYS, Kind
from storage_service.store.exports.zip_writer import ENCODED_NAME
from storage_service.store.records import JsonObject

TEBIBYTE = 1 << 40
# A whole janroot with its models, as its owner kept it: long names, twins and all.
LIMITS = ArchiveLimits(
    entries=2_000_000,
    entry_bytes=2 * TEBIBYTE,
    total_bytes=16 * TEBIBYTE,
    levels=MAX_LEVELS + 1,
    name_bytes=12 * 1024,
    segment_bytes=3 * 255,
    directory_bytes=1024 * 1024 * 1024,
    twins=True,
)
_MAX_MANIFEST_BYTES = 64 * 1024 * 1024
_MANIFEST = f"{Kind.BACKUP.value}.json"


@dataclass(frozen=True, slots=True)
class Contents:
    """What a backup holds.

    left_out: what lay there and is not in it, and may be in the janroot still. names_all: whether that is all of it;
    the list has a limit.
    """

    created_at: int
    threads: int
    files: int
    folders: int
    bytes: int
    weights: bool
    left_out: tuple[str, ...]
    names_all: bool


class Backup:
    """An archive that is a backup of ours. Close it."""

    def __init__(self, path: Path) -> None:
        """Open and check it, but for the bytes of its files. Raises InvalidArgumentError."""
        self._archive = Archive(path, LIMITS)
        try:
            self._about = _manifest(self._archive)
            self._places = _places(self._archive)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let go of the file."""
        self._archive.close()

    def contents(self) -> Contents:
        """What it holds."""
        files = [entry for entry in self._places.values() if not entry.is_folder]
        return Contents(
            created_at=_number(self._about, "created_at"),
            threads=_number(self._about, "threads"),
            files=len(files),
            folders=len(self._places) - len(files),
            bytes=sum(entry.size_bytes for entry in files),
            weights=self._about.get("weights") is True,
            left_out=tuple(_left_out(self._about)),
            names_all=_number(self._about, "left_out_count") <= len(_listed(self._about)),
        )

    def check(self) -> None:
        """Read everything. Raises InvalidArgumentError: something is damaged."""
        for entry in self._places.values():
            if not entry.is_folder:
                for _ in self._archive.pieces(entry):
                    pass

    def unpack(self, target: Path) -> None:
        """Write it below a new folder, with modes and times of modification, durably but for that folder's name.

        Raises InvalidArgumentError, StorageFullError; what was written so far is the caller's to remove.
        """
        self._archive.check_room(target.parent)
        try:
            self._unpack(target)
        except (FileExistsError, NotADirectoryError, IsADirectoryError):
            raise invalid("it has a file and a folder of one name") from None

    def _unpack(self, target: Path) -> None:
        with Bulk(target.parent) as bulk:
            os.mkdir(target)
            for place, entry in self._places.items():
                path = target / place
                (path if entry.is_folder else path.parent).mkdir(parents=True, exist_ok=True)
                if not entry.is_folder:
                    self._archive.extract(entry, path, bulk)
                    _dress(path, entry, entry.permissions)
            # From the inside out: what is put into a folder changes its time.
            folders = [(place, entry) for place, entry in self._places.items() if entry.is_folder]
            for place, entry in sorted(folders, key=lambda item: item[0].count("/"), reverse=True):
                _dress(target / place, entry, entry.permissions | 0o700)
            bulk.sync()


def _dress(path: Path, entry: Entry, permissions: int) -> None:
    if entry.permissions:
        os.chmod(path, permissions)
    if entry.mtime_ns is not None and -(1 << 62) < entry.mtime_ns < 1 << 62:
        os.utime(path, ns=(entry.mtime_ns, entry.mtime_ns))


def _manifest(archive: Archive) -> JsonObject:
    entry = next(iter(archive.entries.values()), None)
    if entry is not None and entry.name == f"{Kind.EXPORT.value}.json":
        raise InvalidArgumentError(
            "This is an export, made to be shared: it lacks keys and more. Import it instead of restoring it.",
            code="not_a_backup",
        )
    if entry is None or entry.name != _MANIFEST:
        raise InvalidArgumentError(
            f"This is no backup of Janroot: it does not begin with {_MANIFEST}.", code="not_a_backup"
        )
    data = archive.read(entry, _MAX_MANIFEST_BYTES)
    try:
        about: Any = orjson.loads(data or b"")
    except orjson.JSONDecodeError:
        about = None
    if not isinstance(about, dict) or about.get("format") != Kind.BACKUP.value:
        raise InvalidArgumentError(f"{_MANIFEST} does not say what this is.", code=INVALID)
    if about.get("version") != FORM_VERSION:
        raise InvalidArgumentError("This backup is of a form that this version of Janroot does not know.", code=INVALID)
    return about


def _places(archive: Archive) -> dict[str, Entry]:
    """Every entry but the manifest by the path that it is to have."""
    places: dict[str, Entry] = {}
    for entry in archive.entries.values():
        if entry.name == _MANIFEST:
            continue
        place = _place(entry)
        if place in places:
            raise unsafe(entry.name, "another entry has its name")
        places[place] = entry
    return places


def _place(entry: Entry) -> str:
    name = entry.name.removesuffix("/")
    if entry.comment == ENCODED_NAME:
        name = os.fsdecode(unquote_to_bytes(name))
    if not is_inside(name):
        raise unsafe(entry.name, "its name leads out of the janroot or has an empty part")
    top, *below = name.split("/")
    if top == SERVER and (not entry.is_folder if not below else below[0] not in KEPT_OF_SERVER):
        raise unsafe(entry.name, "a backup holds nothing of the kind in .server")
    if top == SERVER and len(below) == 1 and not entry.is_folder:
        raise unsafe(entry.name, "it is a file in a folder's place")
    return name


def is_inside(place: str) -> bool:
    """Whether a path stays below the folder that it starts from."""
    segments = place.split("/")
    return all(
        segment not in ("", ".", "..") and "\0" not in segment and len(os.fsencode(segment)) <= 255
        for segment in segments
    )


def _left_out(about: JsonObject) -> Iterator[str]:
    stays = {reason.value for reason in STAYS}
    for item in _listed(about):
        if isinstance(item, dict) and item.get("reason") in stays:
            place = item.get("path")
            if isinstance(place, str) and "\0" not in place and is_inside(place) and place.split("/")[0] != SERVER:
                yield place


def _listed(about: JsonObject) -> list[Any]:
    listed = about.get("left_out")
    return listed if isinstance(listed, list) else []


def _number(about: JsonObject, key: str) -> int:
    value = about.get(key)
    return value if isinstance(value, int) and 0 <= value < 1 << 62 else 0

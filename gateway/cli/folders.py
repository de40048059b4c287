"""A folder as a zip, made while it is sent: links are not followed, and what a server cannot use stays behind."""

from __future__ import annotations

import io
import os
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

WEIGHTS = (".gguf", ".safetensors", ".engine", ".bin", ".pt", ".pth")
# Programs, logs and looks of desktop Jan, and another server's own folder: nothing that a person said.
_SKIPPED = frozenset({".server", "extensions", "themes", "logs", "llamacpp/backends"})
_COMPRESSED = (*WEIGHTS, ".png", ".jpg", ".jpeg", ".webp", ".pdf", ".zip", ".mp3", ".mp4")
# A server refuses an archive with such a name in it as a whole.
_UNUSABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\\\ud800-\udfff]")
_PIECE_BYTES = 256 * 1024


@dataclass(slots=True)
class LeftOut:
    """What does not go into the zip: how many files of each kind, and the places of those that a person may miss."""

    files: dict[str, int] = field(default_factory=dict)
    missed: dict[str, str] = field(default_factory=dict)

    def add(self, reason: str) -> None:
        """One more that nobody will miss here."""
        self.files[reason] = self.files.get(reason, 0) + 1

    def miss(self, place: str, reason: str) -> None:
        """One more whose place is to be told."""
        self.missed[place] = reason


@dataclass(frozen=True, slots=True)
class Folder:
    """The files of a folder that go into its zip: their places, names in the zip, and how large they are in all."""

    files: tuple[tuple[Path, str], ...]
    size_bytes: int
    left_out: LeftOut


def look_into(folder: Path, *, weights: bool) -> Folder:
    """Find what is to be sent. A thread's own folder goes by its name, any other by what is in it."""
    prefix = f"{folder.resolve().name}/" if _is_thread(folder) else ""
    files, size_bytes, left_out = [], 0, LeftOut()
    for path, place in _below(folder, "", left_out):
        length = path.stat().st_size
        if place.endswith(WEIGHTS) and not weights:
            left_out.add("weights of models (see --weights)")
        elif _UNUSABLE.search(prefix + place):
            left_out.miss(place, "no archive may have such a name; rename it")
        else:
            files.append((path, prefix + place))
            size_bytes += length
    return Folder(tuple(files), size_bytes, left_out)


def zip_pieces(folder: Folder) -> Iterator[tuple[bytes, int]]:
    """The bytes of the zip as they come, each with how many bytes of files were read for it. Raises OSError."""
    sink = _Sink()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for path, name in folder.files:
            with path.open("rb") as source:
                info = zipfile.ZipInfo.from_file(path, name, strict_timestamps=False)
                info.compress_type = zipfile.ZIP_STORED if name.endswith(_COMPRESSED) else zipfile.ZIP_DEFLATED
                with archive.open(info, "w", force_zip64=True) as target:
                    while data := source.read(_PIECE_BYTES):
                        target.write(data)
                        yield sink.take(), len(data)
            yield sink.take(), 0
    yield sink.take(), 0


class _Sink(io.RawIOBase):
    """A file that can only be written to, and hands on what was."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, data: Any, /) -> int:
        """Take bytes."""
        self._pieces.append(bytes(data))
        return len(self._pieces[-1])

    def take(self) -> bytes:
        """What was written since the last time."""
        data, self._pieces = b"".join(self._pieces), []
        return data


def _is_thread(folder: Path) -> bool:
    return any((folder / name).is_file() for name in ("thread.json", "messages.jsonl"))


def _below(folder: Path, place: str, left_out: LeftOut) -> Iterator[tuple[Path, str]]:
    """The plain files below a folder, in order of their names."""
    with os.scandir(folder) as entries:
        found = sorted(entries, key=lambda entry: entry.name)
    for entry in found:
        inner = f"{place}{entry.name}"
        if entry.is_symlink():
            left_out.miss(inner, "a link; put what it points to in its place")
        elif inner in _SKIPPED:
            left_out.add(f"{inner}/")
        elif entry.is_dir():
            yield from _below(Path(entry.path), f"{inner}/", left_out)
        elif entry.is_file():
            yield Path(entry.path), inner
        else:
            left_out.miss(inner, "neither a file nor a folder")

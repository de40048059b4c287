"""The only reader of archives: zip files, which may come from anybody (docs/security.md S20).

What an archive says of itself is checked before anything is unpacked, and once more while it is read: an entry that
is longer or shorter than it said, has another checksum, or was compressed beyond the limit ends the reading. Nothing
is ever written but plain files and folders, below a folder of ours.
"""

import os
import shutil
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from jan.errors import InvalidArgumentError, StorageFullError
from storage_service.store import archive_directory as directory
from storage_service.store import archive_names, atomic
from storage_service.store.archive_directory import ArchiveLimits, Entry
from storage_service.store.bulk import Bulk

__all__ = ["Archive", "ArchiveLimits", "Entry"]

_LOCAL = struct.Struct("<4s5H3L2H")
_PIECE_BYTES = 256 * 1024
# What stays free for those who write meanwhile.
_RESERVE_BYTES = 64 * 1024 * 1024


class Archive:
    """An open archive. Use it as a context; reading is safe from several threads at once."""

    def __init__(self, path: Path, limits: ArchiveLimits) -> None:
        """Open an archive and check all that it says.

        Raises InvalidArgumentError: it is refused; see `archive_directory.read` for the codes.
        """
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            found, end = directory.read(self._fd, limits)
        except BaseException:
            self.close()
            raise
        self.entries: dict[str, Entry] = {entry.name: entry for entry in found}
        """By name, in the order of their bytes."""
        offsets = [entry.offset for entry in found]
        self._ends = dict(zip(offsets, [*offsets, end][1:], strict=True))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def files(self) -> Iterator[Entry]:
        """The entries that are files."""
        return (entry for entry in self.entries.values() if not entry.is_folder)

    def pieces(self, entry: Entry) -> Iterator[bytes]:
        """A file's bytes, piece by piece; whole and true once the last piece is there, and not before.

        Raises InvalidArgumentError: they are not what the directory says of them.
        """
        size = crc = 0
        for piece in self._inflated(entry):
            size += len(piece)
            crc = zlib.crc32(piece, crc)
            if size > entry.size_bytes:
                raise archive_names.unsafe(entry.name, "it is longer than it says")
            yield piece
        if size != entry.size_bytes:
            raise archive_names.unsafe(entry.name, "it is shorter than it says")
        if crc != entry.crc:
            raise _damaged(entry, "its checksum is another one")

    def read(self, entry: Entry, most_bytes: int) -> bytes | None:
        """A whole file; None when it is longer than it may be. Raises as `pieces` does."""
        return b"".join(self.pieces(entry)) if entry.size_bytes <= most_bytes else None

    def extract(self, entry: Entry, path: Path, bulk: Bulk) -> None:
        """Write a file where nothing is yet; durable with the others of `bulk`. Raises as `pieces` does.

        StorageFullError, FileExistsError. Nothing is left of a file that cannot be written.
        """
        bulk.write(path, self.pieces(entry), entry.changed_seconds)

    def extract_all(self, target: Path) -> None:
        """Write all files and folders below a new folder, durably but for its own name. It may take a while.

        Raises InvalidArgumentError, StorageFullError: nothing is left.
        """
        self.check_room(target.parent)
        with Bulk(target.parent) as bulk:
            os.mkdir(target)
            try:
                for entry in self.entries.values():
                    path = target / entry.name
                    (path if entry.is_folder else path.parent).mkdir(parents=True, exist_ok=True)
                    if not entry.is_folder:
                        self.extract(entry, path, bulk)
                bulk.sync()
            except BaseException:
                atomic.remove_tree(target)
                raise

    def check_room(self, folder: Path) -> None:
        """See that all of it fits on a folder's disk. Raises StorageFullError."""
        check_room(folder, sum(entry.size_bytes for entry in self.entries.values()))

    def _inflated(self, entry: Entry) -> Iterator[bytes]:
        """What an entry's bytes become, never more than a piece at a time."""
        raw = self._raw(entry)
        if entry.method == directory.STORED:
            yield from raw
            return
        inflate = zlib.decompressobj(-zlib.MAX_WBITS)
        try:
            for data in raw:
                if inflate.eof:
                    raise _damaged(entry, "something follows its end")
                rest = data
                while rest and not inflate.eof:
                    yield inflate.decompress(rest, _PIECE_BYTES)
                    rest = inflate.unconsumed_tail
            while not inflate.eof and (piece := inflate.decompress(inflate.unconsumed_tail, _PIECE_BYTES)):
                yield piece
        except zlib.error:
            raise _damaged(entry, "it cannot be decompressed") from None
        if not inflate.eof or inflate.unused_data:
            raise _damaged(entry, "it cannot be decompressed")

    def _raw(self, entry: Entry) -> Iterator[bytes]:
        """An entry's bytes as they lie in the archive."""
        offset = self._data_offset(entry)
        end = offset + entry.compressed_bytes
        while offset < end:
            data = os.pread(self._fd, min(_PIECE_BYTES, end - offset), offset)
            if not data:
                raise _damaged(entry, "it is cut off")
            yield data
            offset += len(data)

    def _data_offset(self, entry: Entry) -> int:
        """Where an entry's bytes begin: behind its local header, which must say what the directory says."""
        header = os.pread(self._fd, _LOCAL.size, entry.offset)
        if len(header) < _LOCAL.size or not header.startswith(b"PK\3\4"):
            raise _damaged(entry, "it is not where it should be")
        _, _, flags, method, _, _, crc, compressed, size, name_length, extra_length = _LOCAL.unpack(header)
        name = os.pread(self._fd, name_length, entry.offset + _LOCAL.size)
        told = (crc, compressed, size)
        is_told = entry.streamed or 0xFFFFFFFF in told or told == (entry.crc, entry.compressed_bytes, entry.size_bytes)
        if name != entry.name.encode() or method != entry.method or flags & directory.ENCRYPTED or not is_told:
            raise archive_names.unsafe(entry.name, "the archive says two things of it")
        begin: int = entry.offset + _LOCAL.size + name_length + extra_length
        if begin + entry.compressed_bytes > self._ends[entry.offset]:
            raise archive_names.unsafe(entry.name, "it shares its bytes with another entry")
        return begin


def check_room(folder: Path, needed_bytes: int) -> None:
    """See that so much fits on a folder's disk, with something left for others. Raises StorageFullError."""
    if shutil.disk_usage(folder).free < needed_bytes + _RESERVE_BYTES:
        raise StorageFullError("The server's disk has no room for what is in this archive; nothing was changed.")


def _damaged(entry: Entry, reason: str) -> InvalidArgumentError:
    return directory.invalid(f"{archive_names.shown(entry.name)} is damaged, {reason}")

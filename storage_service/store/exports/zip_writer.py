"""A zip written from front to back: its bytes are handed on as they are made.

Entries are stored as they are, not compressed: sizes are known beforehand, and a reader that guards against bombs has
nothing to guess. `zipfile` would do, but it keeps half a kilobyte of every entry in memory until the end, 200 MB for
100,000 threads; here the table of contents waits compressed, in a tenth of that. The form is PKWARE's APPNOTE 6.3, with
the times of modification that Info-ZIP (0x5455, seconds) and 7-Zip (0x000a, 100 ns) read.
"""

import re
import stat
import struct
import time
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from urllib.parse import quote

# A file up to here is read before it is written, so that its header tells size and checksum, as some readers like it.
WHOLE_BYTES = 256 * 1024
# The comment of an entry whose name on disk is no plain text: it is percent-encoded (RFC 3986).
ENCODED_NAME = b"percent-encoded"

_MOST_32 = 0xFFFFFFFF
_MOST_16 = 0xFFFF
# Beyond this a size is written in 64 bits; it may still grow a little while it is read.
_LARGE_BYTES = 0x7FFFFFFF
_VERSION, _VERSION_64, _UNIX = 20, 45, 3 << 8
_SIZES_FOLLOW, _UTF_8 = 0x8, 0x800
_FILETIME_EPOCH_S = 11_644_473_600
_UNPLAIN = re.compile(r"[\x00-\x1f\x7f-\x9f\\:\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Item:
    """A file or folder to be: its name from the top of the zip, its mode, and when it was modified."""

    name: str
    mode: int
    mtime_ns: int


class ZipWriter:
    """One zip on its way. What the methods yield is its bytes, in order; take all of one before asking for the next."""

    def __init__(self) -> None:
        self._table = _Table()
        self._count = 0
        self._offset = 0

    def folder(self, item: Item) -> Iterator[bytes]:
        """Add a folder; what is in it may come before or after it."""
        header = _Header.of(item, f"{item.name}/")
        start = self._offset
        yield from self._emit([header.local()])
        self._note(header, start)

    def file(self, item: Item, size_bytes: int, pieces: Iterable[bytes]) -> Iterator[bytes]:
        """Add a file of about `size_bytes`."""
        header = _Header.of(item, item.name)
        start = self._offset
        if size_bytes <= WHOLE_BYTES:
            data = b"".join(pieces)
            header.measure(data)
            yield from self._emit([header.local(), data])
        else:
            header.flags |= _SIZES_FOLLOW
            header.is_large = size_bytes > _LARGE_BYTES
            yield from self._emit([header.local()])
            for piece in pieces:
                header.measure(piece)
                yield from self._emit([piece])
            yield from self._emit([header.descriptor()])
        self._note(header, start)

    def finish(self) -> Iterator[bytes]:
        """End with the table of contents."""
        start = self._offset
        yield from self._emit(self._table.chunks())
        yield from self._emit([_end(self._count, self._offset - start, start)])

    def _emit(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            self._offset += len(chunk)
            yield chunk

    def _note(self, header: "_Header", start: int) -> None:
        self._table.add(header.central(start))
        self._count += 1


class _Table:
    """The table of contents until it is written: hundreds of thousands of lines that are much alike."""

    def __init__(self) -> None:
        self._packer = zlib.compressobj(1)
        self._packed: list[bytes] = []

    def add(self, line: bytes) -> None:
        packed = self._packer.compress(line)
        if packed:
            self._packed.append(packed)

    def chunks(self) -> Iterator[bytes]:
        unpacker = zlib.decompressobj()
        for packed in (*self._packed, self._packer.flush()):
            yield unpacker.decompress(packed)
        yield unpacker.flush()


@dataclass(slots=True)
class _Header:
    """What stands before a file's bytes, after them, and in the table."""

    name: bytes
    comment: bytes
    flags: int
    attributes: int
    dos_time: int
    extra: bytes
    size: int = 0
    checksum: int = 0
    is_large: bool = False

    @classmethod
    def of(cls, item: Item, path: str) -> "_Header":
        is_plain = not _UNPLAIN.search(path)
        name = path.encode() if is_plain else quote(path.encode("utf-8", "surrogateescape"), safe="/ ").encode()
        return cls(
            name=name,
            comment=b"" if is_plain else ENCODED_NAME,
            flags=0 if name.isascii() else _UTF_8,
            attributes=item.mode << 16 | (0x10 if stat.S_ISDIR(item.mode) else 0),
            dos_time=_dos_time(item.mtime_ns),
            extra=_times(item.mtime_ns),
        )

    def measure(self, piece: bytes) -> None:
        self.size += len(piece)
        self.checksum = zlib.crc32(piece, self.checksum)

    def local(self) -> bytes:
        """The header in front; sizes and checksum are 0 when they follow."""
        extra = self.extra
        size, checksum = (0, 0) if self.flags & _SIZES_FOLLOW else (self.size, self.checksum)
        if self.is_large:
            extra, size = struct.pack("<HHQQ", 1, 16, 0, 0) + extra, _MOST_32
        fixed = struct.pack(
            "<4sHHHIIIIHH",
            *(b"PK\x03\x04", self._version(), self.flags, 0, self.dos_time, checksum, size, size),
            *(len(self.name), len(extra)),
        )
        return fixed + self.name + extra

    def descriptor(self) -> bytes:
        """What follows a file whose header did not tell its size."""
        form = "<4sIQQ" if self.is_large else "<4sIII"
        return struct.pack(form, b"PK\x07\x08", self.checksum, self.size, self.size)

    def central(self, start: int) -> bytes:
        """The line in the table."""
        size, offset, large = self.size, start, b""
        if self.size > _LARGE_BYTES:
            size, large = _MOST_32, struct.pack("<QQ", self.size, self.size)
        if start > _LARGE_BYTES:
            offset, large = _MOST_32, large + struct.pack("<Q", start)
        extra = (struct.pack("<HH", 1, len(large)) + large if large else b"") + self.extra
        version = _VERSION_64 if large or self.is_large else _VERSION
        fixed = struct.pack(
            "<4sHHHHIIIIHHHHHII",
            *(b"PK\x01\x02", version | _UNIX, version, self.flags, 0, self.dos_time),
            *(self.checksum, size, size, len(self.name), len(extra), len(self.comment)),
            *(0, 0, self.attributes, offset),
        )
        return fixed + self.name + extra + self.comment

    def _version(self) -> int:
        return _VERSION_64 if self.is_large else _VERSION


def entry_bytes(name: str) -> int:
    """About what an entry takes beside its own bytes."""
    return 76 + 2 * (len(name.encode("utf-8", "surrogateescape")) + 45)


def _end(count: int, length: int, start: int) -> bytes:
    """The record behind the table, in 64 bits as well when 32 are too few."""
    large = b""
    if count >= _MOST_16 or length > _LARGE_BYTES or start > _LARGE_BYTES:
        wide = (44, _VERSION_64 | _UNIX, _VERSION_64, 0, 0, count, count, length, start)
        large = struct.pack("<4sQHHIIQQQQ", b"PK\x06\x06", *wide)
        large += struct.pack("<4sIQI", b"PK\x06\x07", 0, start + length, 1)
    few = min(count, _MOST_16)
    narrow = (0, 0, few, few, min(length, _MOST_32), min(start, _MOST_32), 0)
    return large + struct.pack("<4sHHHHIIH", b"PK\x05\x06", *narrow)


def _dos_time(mtime_ns: int) -> int:
    """Local time to two seconds, between 1980 and 2107; the extra fields are exact."""
    at = time.localtime(max(mtime_ns // 1_000_000_000, 0))
    if not 1980 <= at.tm_year <= 2107:
        return 1 << 21 | 1 << 16  # 1 January 1980
    date = at.tm_year - 1980 << 9 | at.tm_mon << 5 | at.tm_mday
    return date << 16 | at.tm_hour << 11 | at.tm_min << 5 | min(at.tm_sec, 59) // 2


def _times(mtime_ns: int) -> bytes:
    seconds = mtime_ns // 1_000_000_000
    filetime = mtime_ns // 100 + _FILETIME_EPOCH_S * 10_000_000
    unix = struct.pack("<HHBi", 0x5455, 5, 1, seconds) if -(1 << 31) <= seconds < 1 << 31 else b""
    windows = struct.pack("<HHIHHQQQ", 0x000A, 32, 0, 1, 24, filetime, filetime, filetime) if filetime >= 0 else b""
    return unix + windows

"""A zip file's directory: what the archive says is in it, read with distrust.

The end record is looked at before anything is made of it, so that an archive of a million entries is refused in
milliseconds; `zipfile` would build all million first, and takes two thirds of a kilobyte for each. Entries that share
bytes are how 42 KB become 4 GB without nesting (Fifield 2019), so the places of all entries are compared.

Sources: PKWARE APPNOTE.TXT 6.3.10, sections 4.3 to 4.5.
"""

import os
import stat
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from jan.errors import InvalidArgumentError
from storage_service.store import archive_names

TOO_LARGE = "archive_too_large"
INVALID = "invalid_archive"
UNSUPPORTED = "unsupported_archive"

STORED, DEFLATED = 0, 8
# 6.3, as in APPNOTE.
_KNOWN_VERSION = 63
ENCRYPTED = 0x0001
# Strong encryption, patched data, a masked directory.
_UNREADABLE = 0x0040 | 0x0020 | 0x2000

MEBIBYTE = 1024 * 1024
# A ratio says nothing of small entries: a thousand spaces compress well too.
_RATIO_FROM_BYTES = MEBIBYTE

_END = struct.Struct("<4s4H2LH")
_LOCATOR = struct.Struct("<4sLQL")
_END_64 = struct.Struct("<4sQ2H2L4Q")
_CENTRAL = struct.Struct("<4s4B4H3L5H2L")
_LOCAL_BYTES = 30
_MAX_COMMENT_BYTES = 0xFFFF
_FULL_32 = 0xFFFFFFFF
_ZIP64_EXTRA, _TIME_EXTRA = 0x0001, 0x5455
_NTFS_EXTRA = 0x000A
_NTFS_EPOCH_TICKS = 11_644_473_600 * 10_000_000
# What Windows marks in an entry's attributes: a device, a reparse point (its links).
_WINDOWS_SPECIAL = 0x40 | 0x400


@dataclass(frozen=True, slots=True)
class ArchiveLimits:
    """What an archive may hold at most. The defaults fit the conversations of one person over years."""

    entries: int = 200_000
    entry_bytes: int = 512 * MEBIBYTE
    total_bytes: int = 4096 * MEBIBYTE
    ratio: int = 200
    """Bytes that one compressed byte may become, in an entry of more than a mebibyte and in all."""
    levels: int = 32
    name_bytes: int = 1024
    segment_bytes: int = 255
    directory_bytes: int = 64 * MEBIBYTE
    twins: bool = False
    """Whether names may differ in case or accents alone, as they may on the disk that the archive comes from."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A file in an archive, or a folder (its name ends in `/`), as the directory describes it."""

    name: str
    method: int
    crc: int
    compressed_bytes: int
    size_bytes: int
    offset: int
    """Where its local header begins."""
    streamed: bool
    """Whether the local header was written before the sizes were known, and says nothing of them."""
    changed_seconds: int
    """When the file was last changed, seconds since 1970; of a time that is none, 0."""
    permissions: int
    """As in `chmod`; 0 for an archive that does not say."""
    mtime_ns: int | None
    """When it was modified, if an extra field says so: the local time of the old field is nobody's."""
    comment: bytes

    @property
    def is_folder(self) -> bool:
        """Whether it only says that there is a folder."""
        return self.name.endswith("/")


def read(fd: int, limits: ArchiveLimits) -> tuple[list[Entry], int]:
    """All entries of an open file, in the order of their bytes, and where the last one must have ended.

    Raises InvalidArgumentError: no zip file (code `invalid_archive`), encrypted or compressed in a way that is not
    read (`unsupported_archive`), more than it may hold (`archive_too_large`), or made to do harm (`unsafe_archive`).
    """
    size = os.fstat(fd).st_size
    count, start, length = _end(fd, size)
    if count > limits.entries or length > limits.directory_bytes:
        raise too_large(f"it has more than {limits.entries} entries, or very long names")
    if count * _CENTRAL.size > length:
        raise invalid("its directory is too short")
    data = os.pread(fd, length, start)
    entries = sorted(_entries(data, count, limits), key=lambda entry: entry.offset)
    _check_sizes(entries, size, limits)
    _check_apart(entries, start)
    archive_names.check_apart((entry.name for entry in entries), twins=limits.twins)
    return entries, start


def invalid(reason: str) -> InvalidArgumentError:
    """The refusal of what is no zip file, or a broken one."""
    return InvalidArgumentError(f"The file is not a whole zip archive: {reason}.", code=INVALID)


def too_large(reason: str) -> InvalidArgumentError:
    """The refusal of an archive that holds too much."""
    return InvalidArgumentError(f"The archive holds too much: {reason}.", code=TOO_LARGE)


def _end(fd: int, size: int) -> tuple[int, int, int]:
    """How many entries the directory has, where it begins and how long it is; it must end where it says."""
    tail = os.pread(fd, _END.size + _MAX_COMMENT_BYTES, max(0, size - _END.size - _MAX_COMMENT_BYTES))
    place = len(tail)
    while (place := tail.rfind(b"PK\5\6", 0, place)) >= 0:
        if len(tail) - place >= _END.size and place + _END.size + _END.unpack_from(tail, place)[7] == len(tail):
            break
    if place < 0:
        raise invalid("it does not end as one")
    _, disk, first_disk, on_disk, count, length, start, _ = _END.unpack_from(tail, place)
    end = size - len(tail) + place
    locator = os.pread(fd, _LOCATOR.size, max(0, end - _LOCATOR.size))
    if locator.startswith(b"PK\6\7"):
        disk, first_disk, on_disk, count, length, start, end = _end_64(fd, _LOCATOR.unpack(locator)[2])
    if disk or first_disk or on_disk != count:
        raise InvalidArgumentError("Archives in several parts are not read.", code=UNSUPPORTED)
    if start + length != end or end > size:
        raise invalid("its directory is not where it should be")
    return count, start, length


def _end_64(fd: int, place: int) -> tuple[int, int, int, int, int, int, int]:
    """The same fields from the record for large archives, and where that record begins."""
    record = os.pread(fd, _END_64.size, place) if place < 1 << 62 else b""
    if len(record) < _END_64.size or not record.startswith(b"PK\6\6"):
        raise invalid("the end of its directory is missing")
    _, _, _, _, disk, first_disk, on_disk, count, length, start = _END_64.unpack(record)
    return disk, first_disk, on_disk, count, length, start, place


def _entries(data: bytes, count: int, limits: ArchiveLimits) -> Iterator[Entry]:
    place = 0
    for _ in range(count):
        if len(data) - place < _CENTRAL.size:
            raise invalid("its directory is too short")
        fields = _CENTRAL.unpack_from(data, place)
        name_end = place + _CENTRAL.size + fields[12]
        extra_end = name_end + fields[13]
        place, begin = (comment_end := extra_end + fields[14]), place + _CENTRAL.size
        if fields[0] != b"PK\1\2" or place > len(data):
            raise invalid("its directory is damaged")
        name = archive_names.decode(data[begin:name_end])
        archive_names.check(
            name,
            most_bytes=limits.name_bytes,
            most_levels=limits.levels,
            most_segment_bytes=limits.segment_bytes,
        )
        yield _entry(name, fields, data[name_end:extra_end], data[extra_end:comment_end])
    if place != len(data):
        raise invalid("its directory has more entries than it says")


def _entry(name: str, fields: tuple[Any, ...], extra: bytes, comment: bytes) -> Entry:
    flags, method, attributes = fields[5], fields[6], fields[17]
    if flags & ENCRYPTED or flags & _UNREADABLE:
        raise _unsupported(name, "is encrypted")
    if method not in (STORED, DEFLATED):
        raise _unsupported(name, "is compressed in a way that is not read here")
    if fields[3] > _KNOWN_VERSION:
        raise _unsupported(name, "needs a later version of the format")
    _check_kind(name, attributes)
    size, compressed, offset = _wide(extra, fields[11], fields[10], fields[18])
    if (name.endswith("/") and size) or (method == STORED and size != compressed):
        raise archive_names.unsafe(name, "its size is not true")
    return Entry(
        name,
        method,
        fields[9],
        compressed,
        size,
        offset,
        streamed=bool(flags & 0x0008),
        changed_seconds=_changed(fields, extra),
        permissions=attributes >> 16 & 0o777,
        mtime_ns=_mtime_ns(extra),
        comment=comment,
    )


def _check_kind(name: str, attributes: int) -> None:
    """Let plain files and folders pass: links, devices, pipes and sockets do not."""
    kind = stat.S_IFMT(attributes >> 16)
    expected = (0, stat.S_IFDIR) if name.endswith("/") else (0, stat.S_IFREG)
    if kind not in expected or attributes & _WINDOWS_SPECIAL:
        raise archive_names.unsafe(name, "it is a link, a device or another thing that is no plain file")


def _wide(extra: bytes, *short: int) -> tuple[int, int, int]:
    """Size, compressed size and offset: those that say 2^32 - 1 stand, in this order, in an extra field."""
    values = list(short)
    wanted = [place for place, value in enumerate(values) if value == _FULL_32]
    if wanted:
        found = _extra(extra, _ZIP64_EXTRA)
        if len(found) < 8 * len(wanted):
            raise invalid("a size is missing in its directory")
        for place, value in zip(wanted, struct.unpack_from(f"<{len(wanted)}Q", found), strict=True):
            values[place] = value
    return values[0], values[1], values[2]


def _mtime_ns(extra: bytes) -> int | None:
    """The time of modification as NTFS counts it (from 1601 in 100 ns), or as Unix does (from 1970 in seconds)."""
    ntfs, unix = _extra(extra, _NTFS_EXTRA), _extra(extra, _TIME_EXTRA)
    if len(ntfs) >= 16 and ntfs[4:8] == b"\1\0\x18\0":
        ticks: int = struct.unpack_from("<Q", ntfs, 8)[0]
        return (ticks - _NTFS_EPOCH_TICKS) * 100
    if len(unix) >= 5 and unix[0] & 1:
        seconds: int = struct.unpack_from("<i", unix, 1)[0]
        return seconds * 1_000_000_000
    return None


def _extra(extra: bytes, wanted: int) -> bytes:
    while len(extra) >= 4:
        kind, length = struct.unpack_from("<HH", extra)
        if kind == wanted:
            return extra[4 : 4 + length]
        extra = extra[4 + length :]
    return b""


def _changed(fields: tuple[Any, ...], extra: bytes) -> int:
    """The time in Info-ZIP's extra field, which is exact; else DOS's, which is somebody's local time."""
    exact = _extra(extra, _TIME_EXTRA)
    if len(exact) >= 5 and exact[0] & 1:
        return max(0, int.from_bytes(exact[1:5], "little", signed=True))
    clock, date = fields[7], fields[8]
    parts = (1980 + (date >> 9), date >> 5 & 15, date & 31, clock >> 11, clock >> 5 & 63, (clock & 31) * 2)
    try:
        return int(datetime(*parts, tzinfo=UTC).timestamp())
    except ValueError:
        return 0


def _check_sizes(entries: list[Entry], size: int, limits: ArchiveLimits) -> None:
    total = 0
    for entry in entries:
        total += entry.size_bytes
        if entry.size_bytes > limits.entry_bytes:
            raise too_large(f"{archive_names.shown(entry.name)} is longer than {limits.entry_bytes} bytes")
        if _is_bomb(entry.size_bytes, entry.compressed_bytes, limits):
            raise archive_names.unsafe(entry.name, f"it would grow more than {limits.ratio} times")
    if total > limits.total_bytes:
        raise too_large(f"unpacked it would be longer than {limits.total_bytes} bytes")
    if _is_bomb(total, size, limits):
        raise InvalidArgumentError(
            f"The archive is not safe to open: it would grow more than {limits.ratio} times.", code=archive_names.UNSAFE
        )


def _is_bomb(size: int, compressed: int, limits: ArchiveLimits) -> bool:
    return size > _RATIO_FROM_BYTES and size > limits.ratio * compressed


def _check_apart(entries: list[Entry], end: int) -> None:
    """See that no two entries share bytes. Local headers may be longer than told here: see `archive`."""
    for position, entry in enumerate(entries):
        following = entries[position + 1].offset if position + 1 < len(entries) else end
        if entry.offset + _LOCAL_BYTES + len(entry.name.encode()) + entry.compressed_bytes > following:
            raise archive_names.unsafe(entry.name, "it shares its bytes with another entry")


def _unsupported(name: str, reason: str) -> InvalidArgumentError:
    return InvalidArgumentError(f"The entry {archive_names.shown(name)} {reason}.", code=UNSUPPORTED)

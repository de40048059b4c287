"""A whole janroot as a zip: to share it without its keys, or to keep all of it."""

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass

import orjson

from jan.errors import FailedPreconditionError
from storage_service.store import layout
from storage_service.store.exports import blanking, owners
from storage_service.store.exports.alone import Alone
from storage_service.store.exports.folders import Entry, OpenedFile, OpenedFolder
from storage_service.store.exports.rules import Kind, Reason, Rules
from storage_service.store.exports.walk import Found, LeftOut, Walk
from storage_service.store.exports.zip_writer import Item, ZipWriter, entry_bytes
from storage_service.store.records import JsonObject

FORM_VERSION = 1
# What is left out is told one by one up to here, and counted beyond.
TOLD_LEFT_OUT = 10_000

# Where threads lie: assistants may have some of their own.
_WITH_THREADS = ("threads/", "assistants/")

_AT_A_TIME = 1_000


@dataclass(frozen=True, slots=True)
class Summary:
    """What an archive will hold, as far as it can be known before it is made.

    archive_bytes: about how long it will be.
    """

    files: int = 0
    folders: int = 0
    bytes: int = 0
    archive_bytes: int = 0
    left_out: Sequence[LeftOut] = ()
    left_out_count: int = 0


class Survey:
    """Counts what would go into an archive, in steps, since a large janroot takes a while."""

    def __init__(self, where: layout.Layout, rules: Rules) -> None:
        self._where = where
        self._rules = rules
        self.summary = Summary()

    def steps(self) -> Generator[None, None, None]:
        """Look at some more at each step; the summary is right when there are no more."""
        files = folders = size = archive = count = 0
        left_out: list[LeftOut] = []
        with OpenedFolder.at(self._where.root) as root:
            for number, seen in enumerate(Walk(root, self._rules).everything(), 1):
                found = _judged(seen)
                if isinstance(found, LeftOut):
                    count += 1
                    left_out += [found] if len(left_out) < TOLD_LEFT_OUT else []
                else:
                    archive += entry_bytes(found.place)
                    if found.entry.is_folder:
                        folders += 1
                    else:
                        files += 1
                        size += found.entry.status.st_size
                if number % _AT_A_TIME == 0:
                    yield
        self.summary = Summary(files, folders, size, archive + size, left_out, count)


def manifest(rules: Rules, summary: Summary, threads: int, now_ms: int) -> JsonObject:
    """What the archive says of itself, in its first entry; counts are those of its beginning."""
    return {
        "format": rules.kind.value,
        "version": FORM_VERSION,
        "created_at": now_ms // 1000,
        "weights": rules.weights,
        "threads": threads,
        "files": summary.files,
        "folders": summary.folders,
        "bytes": summary.bytes,
        "left_out": [
            {"path": _text(found.place), "reason": found.reason.value, "bytes": found.size_bytes}
            for found in summary.left_out
        ],
        "left_out_count": summary.left_out_count,
    }


def manifest_name(rules: Rules) -> str:
    """The name of the first entry; nothing else in a janroot is called so."""
    return f"{rules.kind.value}.json"


def pieces(where: layout.Layout, rules: Rules, about: JsonObject, alone: Alone, now_ms: int) -> Iterator[bytes]:
    """The bytes of the zip: the manifest `about`, then everything that the rules let in, under its own name.

    Raises FailedPreconditionError: something was closed to us meanwhile, of which the manifest says nothing. OSError:
    something cannot be read. The zip has no end then, so that nobody takes it for whole.
    """
    writer = ZipWriter()
    told_unreadable = {item["path"] for item in about["left_out"] if item["reason"] == Reason.UNREADABLE.value}
    tells_all = about["left_out_count"] == len(about["left_out"])
    told = orjson.dumps(about, option=orjson.OPT_INDENT_2)
    yield from writer.file(Item(manifest_name(rules), 0o100644, now_ms * 1_000_000), len(told), [told])
    with OpenedFolder.at(where.root) as root:
        for found in Walk(root, rules, alone).everything():
            if isinstance(found, LeftOut):
                if found.reason is Reason.UNREADABLE and tells_all and _text(found.place) not in told_unreadable:
                    raise FailedPreconditionError(f"'{_text(found.place)}' may not be read by the server any more.")
            elif found.place != manifest_name(rules):
                yield from _entry(writer, found, rules.kind)
    yield from writer.finish()


def _entry(writer: ZipWriter, found: Found, kind: Kind) -> Iterator[bytes]:
    if found.entry.is_folder:
        yield from writer.folder(found.folder.item(found.place))
    elif found.opened is not None:
        file = found.opened
        if not found.is_blanked:
            is_shared = kind is Kind.EXPORT and found.place.startswith(_WITH_THREADS)
            data_of = owners.pieces(found.entry.name, file) if is_shared else file.pieces()
            yield from writer.file(file.item(found.place), file.size_bytes, data_of)
        elif (data := _blanked(found.entry, file)) is not None:
            yield from writer.file(file.item(found.place), len(data), [data])


def _judged(found: Found | LeftOut) -> Found | LeftOut:
    """What is found out about a settings file only by reading it."""
    if isinstance(found, LeftOut) or not found.is_blanked:
        return found
    try:
        file = found.folder.file(found.entry.name)
    except PermissionError:
        return LeftOut(found.place, Reason.UNREADABLE, found.entry.status.st_size)
    if file is not None:
        with closing(file):
            if _blanked(found.entry, file) is not None:
                return found
    return LeftOut(found.place, Reason.MAY_HOLD_KEYS, found.entry.status.st_size)


def _blanked(entry: Entry, file: OpenedFile) -> bytes | None:
    return blanking.blanked(entry.name, b"".join(file.pieces()))


def _text(place: str) -> str:
    """A name as JSON can hold it."""
    return place.encode("utf-8", "backslashreplace").decode()

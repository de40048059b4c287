"""Where each message of one messages.jsonl stands, in columns: small in memory, and read from a file in no time.

A message has an ordinal, its place among first lines in the file, and a place in the thread's order, which is that of
(time of creation, ordinal). The two are the same but for files that were not written oldest first.
"""

import zlib
from array import array
from bisect import bisect_left, insort
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import orjson

from jan.errors import StorageFullError
from jan.ids import MessageId
from storage_service.store import atomic
from storage_service.store.jsonl import Segment
from storage_service.store.signature import Signature

_MAGIC = b"janroot messages 1 "
_COLUMNS = ("created", "offsets", "lengths", "runs")


class MessageIndex:
    """The columns of one file. Of two lines with one id the later counts, in the earlier's place."""

    def __init__(self) -> None:
        self._id_text = ""
        self.created = array("q")
        self.offsets = array("q")
        self.lengths = array("q")
        # Which run wrote a message, by its number in `run_numbers`; 0 is none.
        self.runs = array("q")
        self._run_names = [""]
        # Ordinals in the thread's order; None while that is the order of the file.
        self._order: list[int] | None = None

    def __len__(self) -> int:
        return len(self.created)

    @cached_property
    def ids(self) -> list[str]:
        """The ids by ordinal. Made when first asked for, as the next two: pages do without."""
        return self._id_text[1:-1].split("\n") if self.created else []

    @cached_property
    def by_id(self) -> dict[str, int]:
        """The ordinal of each id."""
        return dict(zip(self.ids, range(len(self.ids)), strict=True))

    @cached_property
    def run_numbers(self) -> dict[str, int]:
        """The number of each run."""
        return {run: number for number, run in enumerate(self._run_names)}

    def ordinal(self, message_id: str) -> int | None:
        """The ordinal of a message, if it is here. Looking through the text of 100,000 ids takes a millisecond."""
        if "by_id" in self.__dict__ or not self.created:
            return self.by_id.get(message_id)
        at = self._id_text.find(f"\n{message_id}\n")
        return None if at < 0 else self._id_text.count("\n", 0, at)

    def take_over(self, id_text: str, runs: list[str], order: list[int] | None) -> None:
        """Fill an index whose number columns are there: ids by ordinal, a line each, runs by number, the order."""
        self._id_text = id_text
        self._run_names = runs
        self._order = order

    def put(self, message_id: MessageId, created_ms: int | None, run_id: str, segment: Segment) -> None:
        """Take in the next line; one without a time was made when the message in front of it was."""
        run = self.run_numbers.setdefault(run_id, len(self.run_numbers))
        ordinal = self.by_id.get(message_id)
        if ordinal is not None:
            self.offsets[ordinal], self.lengths[ordinal], self.runs[ordinal] = segment.offset, segment.length, run
            return
        last_ms = self.last_created_ms()
        created_ms = created_ms or last_ms
        ordinal = len(self.created)
        self.by_id[message_id] = ordinal
        self.ids.append(message_id)
        self.created.append(created_ms)
        self.offsets.append(segment.offset)
        self.lengths.append(segment.length)
        self.runs.append(run)
        if created_ms < last_ms and self._order is None:
            self._order = list(range(ordinal))
        if self._order is not None:
            insort(self._order, ordinal, key=self._place)

    def order(self, run_id: str = "") -> Sequence[int]:
        """The ordinals in the thread's order, of all messages or of those that one run wrote."""
        order = range(len(self.created)) if self._order is None else self._order
        if not run_id:
            return order
        run = self.run_numbers.get(run_id)
        return [ordinal for ordinal in order if self.runs[ordinal] == run]

    def find(self, order: Sequence[int], message_id: str) -> int | None:
        """Where in an order of this index a message stands."""
        ordinal = self.ordinal(message_id)
        if ordinal is None:
            return None
        index = bisect_left(order, self._place(ordinal), key=self._place)
        return index if index < len(order) and order[index] == ordinal else None

    def segment(self, ordinal: int) -> Segment:
        """Where the message's line lies in the file."""
        return Segment(self.offsets[ordinal], self.lengths[ordinal], None)

    def last_created_ms(self) -> int:
        """The latest time of creation, 0 without messages."""
        if not self.created:
            return 0
        return self.created[-1 if self._order is None else self._order[-1]]

    def _place(self, ordinal: int) -> tuple[int, int]:
        return self.created[ordinal], ordinal


def save(path: Path, index: MessageIndex, seen: Signature, unreadable: Sequence[Segment]) -> None:
    """Keep an index beside the signature of the file that it describes. Without room nothing is kept."""
    head = orjson.dumps(
        {
            "seen": seen,
            "count": len(index),
            "runs": list(index.run_numbers),
            "order": index.order() if isinstance(index.order(), list) else None,
            "unreadable": [(segment.offset, segment.length) for segment in unreadable],
        }
    )
    columns = b"".join(getattr(index, name).tobytes() for name in _COLUMNS)
    body = b"".join([head, b"\n", columns, "".join(f"\n{name}" for name in index.ids).encode(), b"\n"])
    try:
        atomic.replace(path, [_MAGIC, b"%08x\n" % zlib.crc32(body), body])
    except StorageFullError:
        path.unlink(missing_ok=True)


def load(path: Path, seen: Signature) -> tuple[MessageIndex, list[Segment]] | None:
    """The index and the unreadable stretches kept for a file with this signature; None when there are none."""
    try:
        return _parse(path.read_bytes(), seen)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _parse(data: bytes, seen: Signature) -> tuple[MessageIndex, list[Segment]] | None:
    view = memoryview(data)
    body_start = data.index(b"\n") + 1
    if data[: body_start - 1] != _MAGIC + b"%08x" % zlib.crc32(view[body_start:]):
        return None
    start = data.index(b"\n", body_start) + 1
    head = orjson.loads(view[body_start : start - 1])
    if tuple(head["seen"]) != seen:
        return None
    index, count = MessageIndex(), int(head["count"])
    for name in _COLUMNS:
        column = getattr(index, name)
        column.frombytes(view[start : start + count * column.itemsize])
        start += count * column.itemsize
    index.take_over(str(view[start:], "utf-8"), head["runs"], head["order"])
    return index, [Segment(offset, length, None) for offset, length in head["unreadable"]]

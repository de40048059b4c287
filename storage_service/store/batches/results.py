"""batches/<id>.results.jsonl: the results of a batch as they come, in any order, one line each."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from storage_service.store import atomic, jsonl
from storage_service.store.batches import forms
from storage_service.store.batches.records import Counts, Result
from storage_service.store.log import reading


class Results:
    """The results of one batch; what the file says is remembered without the answers themselves.

    One writer at a time is assumed (see `access.py`). The first result of a request counts, and stays the only one.
    """

    def __init__(self, path: Path, quarantine: Path) -> None:
        """Read the file, if there is one."""
        self._path = path
        self._quarantine = quarantine
        self._lines: set[int] = set()
        self.counts = Counts()
        for result in self.all():
            self._take(result)

    @property
    def lines(self) -> list[int]:
        """The lines of the input whose requests have a result, in order."""
        return sorted(self._lines)

    def append(self, results: Sequence[Result]) -> None:
        """Add results, but for requests that have one. Durable on return.

        Raises StorageFullError: none was added. TooLargeError: one is longer than a reader takes; none was added.
        """
        new = {result.line: result for result in reversed(results) if result.line not in self._lines}
        lines = [jsonl.new_line(forms.result_to_json(result)) for result in new.values()]
        if not lines:
            return
        atomic.append(self._path, b"".join(line.data for line in lines), self._quarantine)
        for result in new.values():
            self._take(result)

    def all(self) -> Iterator[Result]:
        """Every result, one for each request, in the order in which they came."""
        seen: set[int] = set()
        with reading(self._path) as fd:
            for segment in jsonl.segments(fd) if fd >= 0 else ():
                result = None if segment.value is None else forms.result_from_json(segment.value)
                if result is not None and result.line not in seen:
                    seen.add(result.line)
                    yield result

    def _take(self, result: Result) -> None:
        self._lines.add(result.line)
        before = self.counts
        self.counts = Counts(
            before.completed + result.answered,
            before.failed + (not result.answered),
            before.tokens.plus(result.tokens),
            before.skipped + result.skipped,
        )

"""Batches: `batches/<id>.json` says how far one has come, `batches/<id>.results.jsonl` holds what there is of it.

At its end the results become files of the purpose `batch_output`, under ids that follow from the batch's own: an end
that a crash cut short is made again, and makes the same files. OpenAI's batches have one of answers and one of what
failed, Anthropic's one of both.
"""

import hashlib
import os
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace

from jan.errors import FailedPreconditionError, InvalidArgumentError, NotFoundError
from jan.ids import BatchId, FileId
from storage_service.store import atomic, jsonfile, jsonl, layout
from storage_service.store.batches import forms
from storage_service.store.batches.records import NEXT, Batch, BatchStatus, Result
from storage_service.store.batches.results import Results
from storage_service.store.clock import Clock
from storage_service.store.files import Files
from storage_service.store.paging import Page, PageQuery, cut
from storage_service.store.records import File, JsonObject

OUTPUT_PURPOSE = "batch_output"
MAX_LIMIT = 1000

_ENDING = ".json"
_DIGITS = 24  # of a file's id


class Batches:
    """Keep, read, list and move on batches. What changes one comes alone (see `access.py`)."""

    def __init__(self, where: layout.Layout, clock: Clock, files: Files) -> None:
        self._layout = where
        self._clock = clock
        self._files = files
        self._lock = threading.Lock()
        self._active: set[BatchId] | None = None
        self._results: dict[BatchId, Results] = {}
        self._last_ms = 0

    def create(self, batch: Batch) -> Batch:
        """Keep a new batch. One of this id that is there is answered as it is. Durable on return.

        Raises StorageFullError: nothing was kept.
        """
        if (kept := self._read(batch.id)) is not None:
            return self._with_counts(kept)
        active = self._known_active()
        if not os.path.lexists(self._layout.batches):
            atomic.make_dir(self._layout.batches)
        batch = replace(batch, status=BatchStatus.VALIDATING, created_ms=self._claim_ms())
        self._write(batch)
        active.add(batch.id)
        return batch

    def adopt(self, batch_ids: Iterable[BatchId]) -> None:
        """Some came from elsewhere, durable as they are: those that have not come to an end are to be executed."""
        active = self._known_active()
        for batch_id in batch_ids:
            batch = self._read(batch_id)
            if batch is not None and not batch.is_over:
                active.add(batch_id)

    def get(self, batch_id: BatchId) -> Batch:
        """A batch as it is now. Raises NotFoundError."""
        found = self._read(batch_id)
        if found is None:
            raise NotFoundError(f"No batch found with id '{batch_id}'.")
        return self._with_counts(found)

    def delete(self, batch_id: BatchId) -> None:
        """Remove a batch that has come to its end, with its input and its results, for good. Durable on return.

        Raises NotFoundError. FailedPreconditionError: it has not come to its end.
        """
        batch = self.get(batch_id)
        if not batch.is_over:
            raise FailedPreconditionError(f"The batch {batch_id} has not ended; cancel it first.")
        for file_id in filter(None, (batch.input_file_id, batch.output_file_id, batch.error_file_id)):
            with suppress(NotFoundError, InvalidArgumentError):
                self._files.delete(FileId.parse(file_id))
        self._layout.batch_results(batch_id).unlink(missing_ok=True)
        self._layout.batch(batch_id).unlink(missing_ok=True)  # last: until then it can be deleted again
        atomic.sync_dir(self._layout.batches)

    def page(self, query: PageQuery, *, of_messages: bool = False) -> Page[Batch]:
        """One page of Anthropic's batches or of the others, in order of creation; up to 1,000.

        Raises InvalidArgumentError: see `paging.cut`.
        """
        listed = sorted((batch for batch in self._all() if batch.is_of_messages is of_messages), key=_age)
        index: dict[str, int] = {batch.id: position for position, batch in enumerate(listed)}
        page = cut(listed, query, index.get, max_limit=MAX_LIMIT)
        return Page(tuple(map(self._with_counts, page.items)), page.has_more)

    def active(self) -> list[Batch]:
        """All that have not come to an end, the oldest first."""
        found = (self._read(batch_id) for batch_id in sorted(self._known_active()))
        return sorted((self._with_counts(batch) for batch in found if batch is not None), key=_age)

    def move(
        self,
        batch_id: BatchId,
        to: BatchStatus,
        *,
        total: int = 0,
        model: str = "",
        errors: Sequence[JsonObject] = (),
    ) -> Batch:
        """Bring a batch to a status, with its files when that is its end; nothing happens when it is there.

        Durable on return. Raises NotFoundError. FailedPreconditionError: it cannot go there from where it is.
        StorageFullError: it is where it was.
        """
        batch = self.get(batch_id)
        if batch.status is to:
            return batch
        if to not in NEXT[batch.status]:
            raise FailedPreconditionError(f"A batch with status '{batch.status}' cannot become '{to}'.")
        moved = replace(
            batch,
            status=to,
            total=total or batch.total,
            model=model or batch.model,
            errors=tuple(errors) or batch.errors,
            steps=(*batch.steps, (to, self._clock())),
        )
        if moved.is_over:
            moved = self._with_files(moved)
        self._write(moved)
        if moved.is_over:
            self._forget(batch_id)
        return moved

    def append(self, batch_id: BatchId, results: Sequence[Result]) -> None:
        """Add results, but for requests that have one. Durable on return.

        Raises NotFoundError. FailedPreconditionError: the batch has come to its end. See `Results.append` for more.
        """
        if self.get(batch_id).is_over:
            raise FailedPreconditionError(f"The batch {batch_id} has come to its end.")
        self._results_of(batch_id).append(results)

    def done(self, batch_id: BatchId) -> list[int]:
        """The lines whose requests have a result; none for a batch that has come to its end. Raises NotFoundError."""
        return [] if self.get(batch_id).is_over else self._results_of(batch_id).lines

    def _with_files(self, batch: Batch) -> Batch:
        """Write the files of a batch that ends; one that would be empty is left out."""
        results = self._results_of(batch.id)
        if batch.is_of_messages:
            return replace(
                batch, counts=results.counts, output_file_id=self._make_file(batch, "results", results.all())
            )
        return replace(
            batch,
            counts=results.counts,
            output_file_id=self._make_file(batch, "output", (one for one in results.all() if one.answered)),
            error_file_id=self._make_file(batch, "error", (one for one in results.all() if not one.answered)),
        )

    def _make_file(self, batch: Batch, what: str, results: Iterable[Result]) -> str:
        upload = self._files.begin(most_bytes=sys.maxsize)  # what was asked for is given, however long it became
        try:
            for result in results:
                upload.write(jsonl.encode(result.value))
            if not upload.is_begun:
                return ""
            file_id = FileId(FileId.prefix + hashlib.sha256(f"{batch.id}.{what}".encode()).hexdigest()[:_DIGITS])
            file = File(file_id, f"{batch.id}_{what}.jsonl", OUTPUT_PURPOSE, size_bytes=0, created_ms=0)
            return self._files.finish(upload, file, batch.output_expires_after_seconds * 1000 or None).id
        finally:
            upload.discard()

    def _forget(self, batch_id: BatchId) -> None:
        """A batch has come to its end: its results are in files."""
        self._known_active().discard(batch_id)
        self._results.pop(batch_id, None)
        self._layout.batch_results(batch_id).unlink(missing_ok=True)

    def _with_counts(self, batch: Batch) -> Batch:
        return batch if batch.is_over else replace(batch, counts=self._results_of(batch.id).counts)

    def _results_of(self, batch_id: BatchId) -> Results:
        with self._lock:
            if batch_id not in self._results:
                self._results[batch_id] = Results(self._layout.batch_results(batch_id), self._layout.quarantine)
            return self._results[batch_id]

    def _known_active(self) -> set[BatchId]:
        """Which batches have not come to an end. Files are read once; what a crash left of those that have goes."""
        with self._lock:
            if self._active is None:
                batches = list(self._all())
                for batch in batches:
                    if batch.is_over:
                        self._layout.batch_results(batch.id).unlink(missing_ok=True)
                self._active = {batch.id for batch in batches if not batch.is_over}
            return self._active

    def _all(self) -> Iterator[Batch]:
        try:
            names = [name for name in os.listdir(self._layout.batches) if name.endswith(_ENDING)]
        except FileNotFoundError:
            return
        for name in names:
            try:
                found = self._read(BatchId.parse(name.removesuffix(_ENDING)))
            except InvalidArgumentError:
                continue
            if found is not None:
                yield found

    def _read(self, batch_id: BatchId) -> Batch | None:
        raw = jsonfile.read(self._layout.batch(batch_id))
        return None if raw is None else forms.from_json(batch_id, raw)

    def _write(self, batch: Batch) -> None:
        """Keys of the file that no field stands for are kept."""
        path = self._layout.batch(batch.id)
        jsonfile.write(path, {**(jsonfile.read(path) or {}), **forms.to_json(batch)})

    def _claim_ms(self) -> int:
        """A time that is later than that of every other that was made by this process."""
        with self._lock:
            self._last_ms = max(self._clock(), self._last_ms + 1)
            return self._last_ms


def _age(batch: Batch) -> tuple[int, str]:
    return batch.created_ms, batch.id

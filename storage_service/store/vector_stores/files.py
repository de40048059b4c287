"""The files of vector stores: which uploads are in which, how far they are, and their texts."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from jan.errors import FailedPreconditionError, InvalidArgumentError, JanError, NotFoundError
from jan.ids import FileBatchId, FileId, VectorStoreId
from storage_service.extraction.kinds import MAX_TEXT_BYTES
from storage_service.store import atomic, jsonfile, layout, signature
from storage_service.store.clock import Clock
from storage_service.store.files import Files
from storage_service.store.paging import Page, PageQuery, cut
from storage_service.store.records import JsonObject
from storage_service.store.signature import Signature
from storage_service.store.vector_stores import forms
from storage_service.store.vector_stores.records import FileCounts, FileStatus, NewFile, StoreFile, VectorStore
from storage_service.store.vector_stores.stores import FILES, VectorStores

MAX_FILES = 10_000
_DESCRIPTION = ".json"
_TEXT = ".txt"
_VECTORS = ".vectors"

Known = dict[FileId, tuple[Signature, StoreFile]]


class StoreFiles:
    """Add, read, list and remove the files of vector stores. Safe to use from several threads.

    `on_change` hears of every store whose files changed, once that is on the disk.
    """

    def __init__(self, where: layout.Layout, clock: Clock, stores: VectorStores, uploads: Files) -> None:
        self._layout = where
        self._clock = clock
        self._stores = stores
        self._uploads = uploads
        self._known: dict[VectorStoreId, Known] = {}
        self.on_change: Callable[[VectorStoreId], None] = lambda _: None
        uploads.on_removal = self.remove_everywhere

    def make_store(self, store: VectorStore, new: Sequence[NewFile]) -> VectorStore:
        """Make a vector store with files; see `VectorStores.create` and `add`. Without the files there is no store."""
        with self._stores.lock:
            for each in new:
                self._uploads.get(each.id)
            made = self._stores.create(store)
            try:
                if new and not self.all(made.id):
                    self.add(made.id, new)
            except (JanError, OSError):
                self._stores.delete(made.id)
                raise
            return made

    def add(
        self, store_id: VectorStoreId, new: Sequence[NewFile], batch_id: FileBatchId | None = None
    ) -> list[StoreFile]:
        """Add uploads to a store, each to be processed; one that is in it already is processed again. Durable.

        Raises NotFoundError: no such store or upload. FailedPreconditionError: the store has expired, or is full.
        StorageFullError. None is added then.
        """
        uploads = [self._uploads.get(each.id) for each in new]
        with self._stores.lock:
            self._stores.usable(store_id)
            before = {file.id: file for file in self.all(store_id)}
            if len(before.keys() | {each.id for each in new}) > MAX_FILES:
                raise FailedPreconditionError(f"A vector store may hold at most {MAX_FILES} files.")
            # In order, also within one millisecond.
            first_ms = max([self._clock(), *(file.created_ms + 1 for file in before.values())])
            files = [
                StoreFile(
                    each.id, upload.filename, created_ms, chunking=each.chunking, attributes=each.attributes,
                    batch_id=batch_id,
                )
                for created_ms, (each, upload) in enumerate(zip(new, uploads, strict=True), first_ms)
            ]  # fmt: skip
            try:
                self._stores.touch(store_id)
                for file in files:
                    self._write(store_id, file)
            except (JanError, OSError):
                self._take_back(store_id, files, before)
                raise
        self.on_change(store_id)
        return files

    def get(self, store_id: VectorStoreId, file_id: FileId) -> StoreFile:
        """One file of a store. Raises NotFoundError: no such store, or no such file in it."""
        file = self._read(store_id, file_id)
        if file is None:
            self._stores.get(store_id)
            raise NotFoundError(f"No file found with id '{file_id:.64}' in vector store '{store_id:.64}'.")
        return file

    def all(self, store_id: VectorStoreId) -> list[StoreFile]:
        """Every file of a store, in order of addition; none of a store that is gone."""
        with self._stores.lock:
            known, found = self._known.get(store_id, {}), Known()
            for file_id, seen in self._described(store_id):
                before = known.get(file_id)
                file = before[1] if before is not None and before[0] == seen else self._read(store_id, file_id)
                if file is not None:
                    found[file_id] = seen, file
            self._known[store_id] = found
            return sorted((file for _, file in found.values()), key=lambda file: (file.created_ms, file.id))

    def page(
        self, store_id: VectorStoreId, query: PageQuery, status: FileStatus | None, batch_id: FileBatchId | None
    ) -> Page[StoreFile]:
        """One page of a store's files, or of those with a status or of a batch. Raises NotFoundError: no such store.

        InvalidArgumentError: see `paging.cut`.
        """
        self._stores.get(store_id)
        files = [
            file
            for file in self.all(store_id)
            if status in (None, file.status) and (batch_id is None or file.batch_id == batch_id)
        ]
        places: dict[str, int] = {file.id: place for place, file in enumerate(files)}
        return cut(files, query, places.get)

    def counts(self, store_id: VectorStoreId, batch_id: FileBatchId | None = None) -> FileCounts:
        """How many files of a store, or of a batch, are how far."""
        files = [file for file in self.all(store_id) if batch_id is None or file.batch_id == batch_id]
        statuses = [file.status for file in files]
        return FileCounts(
            **{status.value: statuses.count(status) for status in FileStatus},
            usage_bytes=sum(file.usage_bytes for file in files),
        )

    def set_attributes(self, store_id: VectorStoreId, file_id: FileId, attributes: JsonObject) -> StoreFile:
        """Give a file other attributes. Durable on return. Raises NotFoundError, StorageFullError."""
        with self._stores.lock:
            file = replace(self.get(store_id, file_id), attributes=attributes)
            self._write(store_id, file)
            return file

    def is_due(self, store_id: VectorStoreId, taken: StoreFile) -> bool:
        """Whether a file is still to be processed: it was not removed, cancelled or added anew since it was read."""
        now = self._read(store_id, taken.id)
        return now is not None and _is_due(now, taken)

    def settle(self, store_id: VectorStoreId, taken: StoreFile, outcome: StoreFile, text: str) -> None:
        """Write down how the processing of `taken` ended, with the text unless it failed. Durable on return.

        Nothing is written when the file was removed, cancelled or added anew meanwhile. Raises StorageFullError.
        """
        with self._stores.lock:
            now = self._read(store_id, taken.id)
            if now is None or not _is_due(now, taken):
                return
            data = text.encode()
            if outcome.status is FileStatus.COMPLETED:
                atomic.replace(self.text(store_id, taken.id), [data])
            self._write(store_id, replace(outcome, attributes=now.attributes, usage_bytes=len(data)))

    def cancel(self, store_id: VectorStoreId, batch_id: FileBatchId) -> None:
        """Give up the files of a batch that are not done. Durable on return. Raises StorageFullError."""
        with self._stores.lock:
            for file in self.all(store_id):
                if file.batch_id == batch_id and file.status is FileStatus.IN_PROGRESS:
                    self._write(store_id, replace(file, status=FileStatus.CANCELLED))

    def remove(self, store_id: VectorStoreId, file_id: FileId) -> None:
        """Take a file out of a store, with its text; the upload stays. Durable on return. Raises NotFoundError."""
        with self._stores.lock:
            self.get(store_id, file_id)
            self._unlink(store_id, file_id)
        self.on_change(store_id)

    def remove_all(self, store_id: VectorStoreId) -> None:
        """Take every file out of a store that has expired."""
        with self._stores.lock:
            for file in self.all(store_id):
                self._unlink(store_id, file.id)
        self.on_change(store_id)

    def remove_everywhere(self, file_id: FileId) -> None:
        """Take a file out of all stores, before its upload goes. Durable on return."""
        for store_id in self._stores.ids():
            with self._stores.lock:
                held = self._read(store_id, file_id) is not None
                if held:
                    self._unlink(store_id, file_id)
            if held:
                self.on_change(store_id)

    def forget(self, store_id: VectorStoreId) -> None:
        """A store was deleted."""
        with self._stores.lock:
            self._known.pop(store_id, None)
        self.on_change(store_id)

    def read_text(self, store_id: VectorStoreId, file_id: FileId) -> str:
        """The text of a file. Raises NotFoundError; FailedPreconditionError: there is none, or not yet."""
        file = self.get(store_id, file_id)
        data = jsonfile.read_bytes(self.text(store_id, file_id), 2 * MAX_TEXT_BYTES)
        if file.status is not FileStatus.COMPLETED or data is None:
            raise FailedPreconditionError(f"The file '{file_id}' is {file.status}: it has no text to show.")
        return data.decode("utf-8", "replace")

    def text(self, store_id: VectorStoreId, file_id: FileId) -> Path:
        """Where the text of a file lies, once it is completed."""
        return self._home(store_id) / f"{FileId.parse(file_id)}{_TEXT}"

    def vectors(self, store_id: VectorStoreId, file_id: FileId) -> Path:
        """Where the vectors of a file's chunks lie, as far as there are any."""
        return self._home(store_id) / f"{FileId.parse(file_id)}{_VECTORS}"

    def holds(self, store_id: VectorStoreId, file_id: FileId) -> bool:
        """Whether a file is in the store."""
        return self._read(store_id, file_id) is not None

    def sweep(self, store_id: VectorStoreId) -> None:
        """Remove texts and vectors of files that are not in the store: what a crash leaves of a removal.

        Only at start.
        """
        with self._stores.lock:
            held = {file_id for file_id, _ in self._described(store_id)}
            for name in _names(self._home(store_id)):
                file_id, ending = os.path.splitext(name)
                if ending in {_TEXT, _VECTORS} and file_id.startswith(FileId.prefix) and file_id not in held:
                    (self._home(store_id) / name).unlink(missing_ok=True)

    def _take_back(self, store_id: VectorStoreId, files: Sequence[StoreFile], before: dict[FileId, StoreFile]) -> None:
        for file in files:
            if file.id not in before:
                self._description(store_id, file.id).unlink(missing_ok=True)

    def _unlink(self, store_id: VectorStoreId, file_id: FileId) -> None:
        self._description(store_id, file_id).unlink(missing_ok=True)
        atomic.sync_dir(self._home(store_id))
        self.text(store_id, file_id).unlink(missing_ok=True)
        self.vectors(store_id, file_id).unlink(missing_ok=True)

    def _write(self, store_id: VectorStoreId, file: StoreFile) -> None:
        jsonfile.write(self._description(store_id, file.id), forms.file_to_json(file))

    def _read(self, store_id: VectorStoreId, file_id: FileId) -> StoreFile | None:
        raw = jsonfile.read(self._description(store_id, file_id))
        return None if raw is None else forms.file_from_json(file_id, raw)

    def _described(self, store_id: VectorStoreId) -> Iterator[tuple[FileId, Signature]]:
        home = self._home(store_id)
        for name in _names(home):
            try:
                file_id = FileId.parse(name.removesuffix(_DESCRIPTION))
            except InvalidArgumentError:
                continue
            seen = signature.of_path(home / name)
            if name.endswith(_DESCRIPTION) and seen != signature.NOTHING:
                yield file_id, seen

    def _home(self, store_id: VectorStoreId) -> Path:
        return self._layout.vector_store(store_id) / FILES

    def _description(self, store_id: VectorStoreId, file_id: FileId) -> Path:
        return self._home(store_id) / f"{FileId.parse(file_id)}{_DESCRIPTION}"


def _is_due(now: StoreFile, taken: StoreFile) -> bool:
    return now.status is FileStatus.IN_PROGRESS and now.created_ms == taken.created_ms


def _names(home: Path) -> list[str]:
    try:
        return os.listdir(home)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return []  # one that is closed to us, or in pieces, hides no other

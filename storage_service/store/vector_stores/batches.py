"""Files that were added to a vector store together: `batches/<id>.json` says when, each file which batch it is of."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from jan.errors import FailedPreconditionError, NotFoundError
from jan.ids import FileBatchId, VectorStoreId
from storage_service.store import atomic, jsonfile, layout
from storage_service.store.clock import Clock
from storage_service.store.vector_stores import forms
from storage_service.store.vector_stores.files import StoreFiles
from storage_service.store.vector_stores.records import FileBatch, NewFile
from storage_service.store.vector_stores.stores import BATCHES, VectorStores


class FileBatches:
    """Add, read and cancel batches."""

    def __init__(self, where: layout.Layout, clock: Clock, stores: VectorStores, files: StoreFiles) -> None:
        self._layout = where
        self._clock = clock
        self._stores = stores
        self._files = files

    def create(self, store_id: VectorStoreId, batch_id: FileBatchId, new: Sequence[NewFile]) -> FileBatch:
        """Add files together; an id that exists answers the stored one. Durable on return. See `StoreFiles.add`."""
        with self._stores.lock:
            self._stores.usable(store_id)
            path = self._path(store_id, batch_id)
            raw = jsonfile.read(path)
            if raw is not None:
                return forms.batch_from_json(batch_id, raw)
            batch = FileBatch(batch_id, self._clock())
            atomic.make_dir(path.parent)
            # First, so that no file names a batch that is not there; without files it is nobody's.
            jsonfile.write(path, forms.batch_to_json(batch))
            try:
                self._files.add(store_id, new, batch_id)
            except BaseException:
                path.unlink(missing_ok=True)
                raise
            return batch

    def get(self, store_id: VectorStoreId, batch_id: FileBatchId) -> FileBatch:
        """One batch. Raises NotFoundError: no such store, or no such batch in it."""
        self._stores.get(store_id)
        raw = jsonfile.read(self._path(store_id, batch_id))
        if raw is None:
            raise NotFoundError(f"No vector store file batch found with id '{batch_id:.64}'.")
        return forms.batch_from_json(batch_id, raw)

    def cancel(self, store_id: VectorStoreId, batch_id: FileBatchId) -> FileBatch:
        """Give up the files of a batch that are not done. Durable on return. Raises NotFoundError, StorageFullError.

        FailedPreconditionError: none is left to be done.
        """
        with self._stores.lock:
            batch = self.get(store_id, batch_id)
            if not batch.is_cancelled and not self._files.counts(store_id, batch_id).in_progress:
                raise FailedPreconditionError("The batch has ended, so it cannot be cancelled.")
            cancelled = replace(batch, is_cancelled=True)
            self._files.cancel(store_id, batch_id)
            jsonfile.write(self._path(store_id, batch_id), forms.batch_to_json(cancelled))
            return cancelled

    def _path(self, store_id: VectorStoreId, batch_id: FileBatchId) -> Path:
        return self._layout.vector_store(store_id) / BATCHES / f"{FileBatchId.parse(batch_id)}.json"

"""Vector stores themselves: a folder each, with a vector_store.json."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace

from jan.errors import FailedPreconditionError, NotFoundError
from jan.ids import VectorStoreId
from jan.telemetry import get_logger
from storage_service.store import atomic, jsonfile, layout
from storage_service.store.clock import Clock, Stopwatch, TwoLooks
from storage_service.store.forms import fields
from storage_service.store.order import CreationOrder
from storage_service.store.paging import Page, PageQuery
from storage_service.store.vector_stores import forms
from storage_service.store.vector_stores.records import Embedder, VectorStore

logger = get_logger(__name__)

FILES = "files"
BATCHES = "batches"
# A search need not wait for the disk each time: days are counted from `last_active_ms`.
_ACTIVE_STEP_MS = 60_000


class VectorStores:
    """Create, read, list, change and delete vector stores. Safe to use from several threads.

    `lock` is held around every change of a store and of what is in it.
    """

    def __init__(self, where: layout.Layout, clock: Clock, stopwatch: Stopwatch) -> None:
        self._layout = where
        self._clock = clock
        self._looks = TwoLooks(stopwatch)
        self._order = CreationOrder(where.vector_stores, VectorStoreId, self._created_ms)
        self.lock = threading.RLock()

    def create(self, store: VectorStore) -> VectorStore:
        """Make a vector store; its times are the store's. An id that exists answers the stored one.

        Durable on return, whole or not at all. Raises StorageFullError.
        """
        with self.lock:
            stored = self._read(store.id)
            if stored is not None:
                return stored
            created_ms = self._order.claim_ms(self._clock())
            store = replace(store, created_ms=created_ms, last_active_ms=created_ms)
            staged, folder = self._layout.staging / store.id, self._layout.vector_store(store.id)
            try:
                for inner in (FILES, BATCHES):
                    atomic.make_dir(staged / inner)
                jsonfile.write(staged / layout.VECTOR_STORE_FILE, forms.store_to_json(store))
                atomic.publish(staged, folder)
            except BaseException:
                atomic.remove_tree(staged)
                raise
            self._order.put(store.id, created_ms)
            return store

    def get(self, store_id: VectorStoreId) -> VectorStore:
        """Read a vector store, expired or not. Raises NotFoundError."""
        store = self._read(store_id)
        if store is None:
            raise NotFoundError(f"No vector store found with id '{store_id:.64}'.")
        return store

    def usable(self, store_id: VectorStoreId) -> VectorStore:
        """The same. Raises FailedPreconditionError: it has expired."""
        store = self.get(store_id)
        if self.has_expired(store):
            raise FailedPreconditionError(f"Vector store {store_id} is expired.", code="vector_store_expired")
        return store

    def has_expired(self, store: VectorStore) -> bool:
        """Whether nobody used it for longer than it is to live."""
        return store.expires_ms is not None and store.expires_ms <= self._clock()

    def page(self, query: PageQuery) -> Page[VectorStore]:
        """One page in order of creation. Raises InvalidArgumentError: see `paging.cut`."""
        while True:
            ids = self._order.page(query)
            found = tuple(store for store in map(self._read, ids.items) if store is not None)
            moved = [self._order.put(store.id, store.created_ms) for store in found]
            if len(found) == len(ids.items) and not any(moved):
                return Page(found, ids.has_more)

    def ids(self) -> list[VectorStoreId]:
        """Every vector store, oldest first."""
        return self._order.ids()

    def change(self, store_id: VectorStoreId, change: Callable[[VectorStore], VectorStore]) -> VectorStore:
        """Rewrite a store's file with what `change` makes of it; id and creation time stay. Durable on return.

        Keys of the file that no field stands for are kept, and so is what somebody else writes meanwhile. Raises
        NotFoundError, StorageFullError.
        """
        with self.lock:
            return atomic.again_if_changed(lambda: self._change(store_id, change))

    def touch(self, store_id: VectorStoreId) -> None:
        """Note that a store is in use. Raises NotFoundError, StorageFullError."""
        now_ms = self._clock()
        if abs(now_ms - self.get(store_id).last_active_ms) >= _ACTIVE_STEP_MS:
            self.change(store_id, lambda store: replace(store, last_active_ms=now_ms))

    def settle(self, store_id: VectorStoreId, embedder: Embedder, dimensions: int) -> None:
        """Have a store remember what its vectors are of; those of anything else count no more. Durable on return.

        Raises NotFoundError, StorageFullError; FailedPreconditionError: it has expired.
        """
        with self.lock:
            store = self.usable(store_id)
            if (store.embedder, store.dimensions) == (embedder, dimensions):
                return
            if store.dimensions:
                logger.warning(
                    "a vector store is embedded anew",
                    store=store_id,
                    was=f"{store.embedder and store.embedder.model}, {store.dimensions} dimensions",
                    now=f"{embedder.model}, {dimensions} dimensions",
                )
            self.change(store_id, lambda store: replace(store, embedder=embedder, dimensions=dimensions))

    def delete(self, store_id: VectorStoreId) -> None:
        """Remove a store for good, with its texts; the uploads stay. Durable on return. Raises NotFoundError."""
        with self.lock:
            self.get(store_id)
            gone = self._layout.staging / f"{store_id}.gone"
            atomic.remove_tree(gone)
            atomic.rename(self._layout.vector_store(store_id), gone)
            self._order.drop(store_id)
        atomic.remove_tree(gone)

    def long_expired(self) -> Sequence[VectorStoreId]:
        """Those that have expired beyond doubt; see `TwoLooks`. Every call is a look."""
        stores = [store for store in map(self._read, self.ids()) if store is not None]
        return [*map(VectorStoreId, self._looks.confirmed(store.id for store in stores if self.has_expired(store)))]

    def _change(self, store_id: VectorStoreId, change: Callable[[VectorStore], VectorStore]) -> VectorStore:
        path = self._layout.vector_store(store_id) / layout.VECTOR_STORE_FILE
        found = jsonfile.look(path)
        before = self.get(store_id)
        after = replace(change(before), id=before.id, created_ms=before.created_ms)
        raw = fields.overlay(found.value or {}, forms.store_to_json(before), forms.store_to_json(after))
        jsonfile.write(path, raw, found.signature)
        return after

    def _read(self, store_id: VectorStoreId) -> VectorStore | None:
        raw = jsonfile.read(self._layout.vector_store(store_id) / layout.VECTOR_STORE_FILE)
        if raw is None:
            self._order.drop(store_id)
            return None
        return forms.store_from_json(store_id, raw)

    def _created_ms(self, store_id: VectorStoreId) -> int | None:
        store = self._read(store_id)
        return store.created_ms if store else None

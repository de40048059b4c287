"""Stored chats, vector stores and batches of a backup: they are read again where it was restored."""

from __future__ import annotations

from pathlib import Path

from storage_service.store.batches.records import BatchStatus
from storage_service.store.store import Store
from tests.storage_service.store.batches.test_batches import begun, result
from tests.storage_service.store.restoring.conftest import back_up
from tests.storage_service.store.restoring.test_restores import restarted, restore
from tests.storage_service.store.test_completions import completion
from tests.storage_service.store.vector_stores.test_search import found, made, settled


def test_they_are_read_again(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "kept")
    chat = completion(owner="ann")
    store.completions.create(chat)
    store_id = made(store, name="notes")
    file_id = settled(store, store_id, "Plant tomatoes in May")
    batch_id = begun(store, total=2)
    store.batches.append(batch_id, [result(1)])
    kept = (store.completions.get(chat.id, "ann"), store.vector_stores.get(store_id), store.batches.get(batch_id))
    store.close()

    elsewhere = Store.open(tmp_path / "elsewhere")
    restore(elsewhere, back_up(tmp_path / "kept"))
    store = restarted(elsewhere)
    try:
        assert store.completions.get(chat.id, "ann") == kept[0]
        assert store.vector_stores.get(store_id) == kept[1]
        assert store.batches.done(batch_id) == [1]
        assert store.batches.get(batch_id) == kept[2]
        assert [hit.file.id for hit in found(store, store_id, "tomato")] == [file_id]
        store.batches.append(batch_id, [result(2)])
        store.batches.move(batch_id, BatchStatus.FINALIZING)
        assert store.batches.get(batch_id).counts.completed == 2
    finally:
        store.close()

"""Searching a vector store whose files are settled by hand: ranks, scores, and an index that is worth nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from jan.errors import FailedPreconditionError, InvalidArgumentError
from jan.ids import FileId, VectorStoreId
from storage_service.store.records import File, JsonObject
from storage_service.store.store import Store
from storage_service.store.vector_stores.filters import matches
from storage_service.store.vector_stores.records import Chunking, FileStatus, Found, NewFile, VectorStore
from storage_service.store.vector_stores.search import Wanted
from tests.storage_service.conftest import SteppingClock

SMALL = Chunking(100, 0)
AT_MOST_ONE = {"type": "lte", "key": "n", "value": 1}


def uploaded(store: Store, data: bytes = b"x", name: str = "a.txt") -> FileId:
    upload = store.files.begin()
    upload.write(data)
    return store.files.finish(upload, File(FileId.new(), name, "assistants", 0, 0)).id


def made(store: Store, **fields: object) -> VectorStoreId:
    return store.vector_stores.create(VectorStore(VectorStoreId.new(), 0, 0, **fields)).id  # type: ignore[arg-type]


def settled(store: Store, store_id: VectorStoreId, text: str, name: str = "a.txt") -> FileId:
    """A file whose text is this."""
    [file] = store.vector_store_files.add(store_id, [NewFile(uploaded(store, name=name), SMALL)])
    store.vector_store_files.settle(store_id, file, replace(file, status=FileStatus.COMPLETED), text)
    return file.id


def found(store: Store, store_id: VectorStoreId, *queries: str, least: float = 0.0) -> list[Found]:
    return list(store.chunk_search.search(store_id, Wanted(queries, least_score=least)).found)


def test_the_best_chunk_comes_first(store: Store) -> None:
    store_id = made(store)
    cats = settled(store, store_id, "All cats sleep. A cat is a cat.")
    both = settled(store, store_id, "Cats and dogs")
    settled(store, store_id, "Nothing of the kind")
    assert [hit.file.id for hit in found(store, store_id, "cat")] == [cats, both]
    assert found(store, store_id, "dog")[0].text == "Cats and dogs"
    assert found(store, store_id, "dog", "sleeping")[0].file.id in {cats, both}
    assert len(found(store, store_id, "dog", "sleeping")) == 2
    assert found(store, store_id, "zebra") == found(store, store_id, "") == []


def test_scores_say_how_much_of_the_query_is_found(store: Store) -> None:
    store_id = made(store)
    settled(store, store_id, "the price of bread")
    [whole] = found(store, store_id, "price bread")
    [half] = found(store, store_id, "price diamonds")
    assert 0 < half.score < whole.score <= 1
    assert found(store, store_id, "price diamonds", least=whole.score) == []


def test_accents_cases_and_other_scripts(store: Store) -> None:
    store_id = made(store)
    settled(store, store_id, "Äpfel und Käse\n東京都は日本の首都です")
    assert len(found(store, store_id, "apfel")) == len(found(store, store_id, "KÄSE")) == 1
    assert found(store, store_id, "首都")[0].text.endswith("首都です")


def test_an_index_that_is_lost_or_spoilt_is_made_anew(store: Store) -> None:
    store_id = made(store)
    settled(store, store_id, "something to find")
    path = store.layout.chunk_index(store_id)
    for spoil in (lambda: path.write_bytes(b"no database"), path.unlink):
        assert len(found(store, store_id, "find")) == 1
        for beside in path.parent.glob(f"{path.name}-*"):
            beside.unlink()
        spoil()
    assert len(found(store, store_id, "find")) == 1


def test_a_text_that_is_changed_by_hand_is_found_so(store: Store, janroot: Path) -> None:
    store_id = made(store)
    file_id = settled(store, store_id, "something to find")
    assert len(found(store, store_id, "find")) == 1
    (janroot / "vector_stores" / store_id / "files" / f"{file_id}.txt").write_text("other words")
    assert found(store, store_id, "find") == []
    assert found(store, store_id, "words")[0].text == "other words"


def test_an_expired_store_is_refused_and_emptied(store: Store, clock: SteppingClock, stopwatch: object) -> None:
    store_id = made(store, expires_after_days=1)
    file_id = settled(store, store_id, "something")
    clock.now_ms += 2 * 86_400_000
    with pytest.raises(FailedPreconditionError, match="expired"):
        found(store, store_id, "something")
    with pytest.raises(FailedPreconditionError, match="expired"):
        store.vector_store_files.add(store_id, [NewFile(file_id)])
    store.tidy()
    assert len(store.vector_store_files.all(store_id)) == 1, "a clock may jump for a while"
    stopwatch.seconds += 3600  # type: ignore[attr-defined]
    store.tidy()
    assert store.vector_store_files.all(store_id) == []
    assert store.files.exists(file_id)
    assert store.vector_stores.get(store_id).id == store_id


def test_a_search_is_a_use(store: Store, clock: SteppingClock) -> None:
    store_id = made(store, expires_after_days=1)
    clock.now_ms += 80_000_000
    found(store, store_id, "x")
    clock.now_ms += 80_000_000
    assert not store.vector_stores.has_expired(store.vector_stores.get(store_id))


@pytest.mark.parametrize(
    ("filters", "is_wanted"),
    [
        ({"type": "eq", "key": "n", "value": 1}, True),
        ({"type": "eq", "key": "n", "value": True}, False),
        ({"type": "gt", "key": "n", "value": "0"}, False),
        ({"type": "lt", "key": "gone", "value": 5}, False),
        ({"type": "ne", "key": "gone", "value": 5}, True),
        ({"type": "nin", "key": "s", "value": ["b", "c"]}, True),
        (
            {
                "type": "or",
                "filters": [{"type": "eq", "key": "s", "value": "b"}, {"type": "lte", "key": "n", "value": 1}],
            },
            True,
        ),
    ],
)
def test_filters(filters: JsonObject, is_wanted: bool) -> None:
    assert matches(filters, {"n": 1, "s": "a"}) is is_wanted


def test_what_is_no_filter() -> None:
    deep: JsonObject = {"type": "eq", "key": "n", "value": 1}
    for _ in range(20):
        deep = {"type": "and", "filters": [deep]}
    for filters in ({}, {"type": "eq"}, {"type": "like", "key": "a", "value": 1}, deep):
        with pytest.raises(InvalidArgumentError):
            matches(filters, {"n": 1})

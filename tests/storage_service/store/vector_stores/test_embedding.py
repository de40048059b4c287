"""Chunks that are handed out to be embedded, vectors that come back, and searches that go by them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import pytest

from jan.errors import NotFoundError
from jan.ids import VectorStoreId
from storage_service.store.store import Store
from storage_service.store.vector_stores.embedding import AT_A_TIME, Embedded, Progress, Unembedded
from storage_service.store.vector_stores.fusion import Weights
from storage_service.store.vector_stores.records import Embedder, Found
from storage_service.store.vector_stores.search import Ranking, Wanted
from storage_service.store.vector_stores.vectors import Rows, unit_rows
from tests.storage_service.store.vector_stores.test_search import made, settled

MINI = Embedder("mini", "r1")
OTHER = Embedder("mini", "r2")
SUBJECTS = (("car", "automobile", "vehicle"), ("cat", "feline", "kitten"))


def meaning_of(text: str) -> list[float]:
    """A vector that knows what a text is about, whatever words it has."""
    return [sum(text.lower().count(word) for word in words) + 0.01 for words in SUBJECTS]


def vectors(texts: Iterable[str], dimensions: int = 2) -> Rows:
    padded = [(meaning_of(text) + [0.01] * dimensions)[:dimensions] for text in texts]
    return unit_rows(np.array(padded, "<f4").tobytes(), dimensions)


def embedded(row: Unembedded, dimensions: int = 2) -> Embedded:
    return Embedded(row.file_id, row.content, row.first, vectors(row.texts, dimensions))


def embed_all(store: Store, embedder: Embedder = MINI, dimensions: int = 2) -> int:
    """Embed whatever there is; in how many portions."""
    portions = 0
    while (found := store.embedding.next(embedder)) is not None:
        store_id, rows = found
        store.embedding.put(store_id, embedder, [embedded(row, dimensions) for row in rows], dimensions)
        portions += 1
    return portions


def ranking(
    store: Store,
    store_id: VectorStoreId,
    *queries: str,
    embedder: Embedder = MINI,
    weights: Weights | None = None,
    dimensions: int = 2,
) -> Ranking:
    queried = [vectors([query], dimensions)[0] for query in queries]
    wanted = Wanted(queries, embedder=embedder, vectors=queried, weights=weights or Weights())
    return store.chunk_search.search(store_id, wanted)


def found(
    store: Store, store_id: VectorStoreId, *queries: str, embedder: Embedder = MINI, weights: Weights | None = None
) -> Sequence[Found]:
    return ranking(store, store_id, *queries, embedder=embedder, weights=weights).found


def texts(hits: Sequence[Found]) -> list[str]:
    return [hit.text for hit in hits]


def test_a_chunk_is_found_that_has_no_word_of_the_query(store: Store) -> None:
    store_id = made(store)
    settled(store, store_id, "My automobile is red")
    settled(store, store_id, "The kitten sleeps")
    assert texts(store.chunk_search.search(store_id, Wanted(["a feline"])).found) == []
    assert embed_all(store) == 1
    hits = found(store, store_id, "a feline")
    assert texts(hits) == ["The kitten sleeps", "My automobile is red"]
    assert all(hit.by_meaning and 0 < hit.score <= 1 for hit in hits)
    assert texts(found(store, store_id, "a car", "a feline"))[0] in {"My automobile is red", "The kitten sleeps"}


def test_words_and_meanings_both_have_a_say(store: Store) -> None:
    store_id = made(store)
    settled(store, store_id, "A feline")
    settled(store, store_id, "The word zebra alone")
    settled(store, store_id, "Nothing of the kind")
    embed_all(store)
    both = found(store, store_id, "zebra cat")
    assert set(texts(both)[:2]) == {"A feline", "The word zebra alone"}
    words = found(store, store_id, "zebra cat", weights=Weights(1, 0))
    assert (texts(words), words[0].by_meaning) == (["The word zebra alone"], False)
    meaning = found(store, store_id, "zebra cat", weights=Weights(0, 1))
    assert texts(meaning)[0] == "A feline"
    assert meaning[0].score == pytest.approx(1, abs=0.01)


def test_filters_and_limits_hold_for_meanings(store: Store) -> None:
    store_id = made(store)
    for number in range(5):
        file_id = settled(store, store_id, f"kitten {number}")
        store.vector_store_files.set_attributes(store_id, file_id, {"n": number})
    embed_all(store)
    wanted = Wanted(
        ["cat"], {"type": "gte", "key": "n", "value": 2}, limit=2, embedder=MINI, vectors=[vectors(["cat"])[0]]
    )
    ranked = store.chunk_search.search(store_id, wanted)
    assert set(texts(ranked.found)) <= {"kitten 2", "kitten 3", "kitten 4"}
    assert (len(ranked.found), ranked.chunks, ranked.with_vectors) == (2, 3, 3)


def test_a_long_text_is_embedded_in_portions_and_found_before_its_end(store: Store) -> None:
    store_id = made(store)
    settled(store, store_id, "kitten " * 100 * (AT_A_TIME + 6))
    first = store.embedding.next(MINI)
    assert first is not None
    [row] = first[1]
    assert (row.first, len(row.texts)) == (0, AT_A_TIME)
    store.embedding.put(store_id, MINI, [embedded(row)], 2)
    assert len(found(store, store_id, "feline")) == 10
    rest = store.embedding.next(MINI)
    assert rest is not None
    assert rest[1][0].first == AT_A_TIME
    progress = store.embedding.progress(store_id, MINI, 2)
    assert progress is not None
    assert progress.embedded == AT_A_TIME < progress.chunks
    embed_all(store)
    done = store.embedding.progress(store_id, MINI, 2)
    assert done == Progress(progress.chunks, progress.chunks)


def test_a_restart_goes_on_where_the_last_one_ended(store: Store, janroot: Path) -> None:
    store_id = made(store)
    settled(store, store_id, "kitten " * 100 * (AT_A_TIME + 6))
    due = store.embedding.next(MINI)
    assert due is not None
    store.embedding.put(store_id, MINI, [embedded(due[1][0])], 2)
    store.close()
    again = Store.open(janroot)
    try:
        rest = again.embedding.next(MINI)
        assert rest is not None
        assert rest[1][0].first == AT_A_TIME
        embed_all(again)
        assert again.vector_stores.get(store_id).embedder == MINI
        assert again.vector_stores.get(store_id).dimensions == 2
    finally:
        again.close()


def test_an_index_made_anew_keeps_the_vectors(store: Store) -> None:
    store_id = made(store)
    settled(store, store_id, "kitten")
    embed_all(store)
    store.layout.chunk_index(store_id).write_bytes(b"no database")
    assert texts(found(store, store_id, "feline")) == ["kitten"]
    assert store.embedding.next(MINI) is None


def test_a_text_that_changes_is_embedded_again(store: Store) -> None:
    store_id = made(store)
    file_id = settled(store, store_id, "kitten")
    settled(store, store_id, "automobile")
    embed_all(store)
    store.vector_store_files.text(store_id, file_id).write_text("vehicle")
    assert texts(found(store, store_id, "car")) == ["automobile"]
    due = store.embedding.next(MINI)
    assert due is not None
    assert [(row.file_id, list(row.texts)) for row in due[1]] == [(file_id, ["vehicle"])]
    embed_all(store)
    assert len(found(store, store_id, "car")) == 2


def test_a_file_takes_its_vectors_along(store: Store) -> None:
    store_id = made(store)
    file_id = settled(store, store_id, "kitten")
    due = store.embedding.next(MINI)
    embed_all(store)
    path = store.vector_store_files.vectors(store_id, file_id)
    assert path.exists()
    store.vector_store_files.remove(store_id, file_id)
    assert not path.exists()
    assert found(store, store_id, "feline") == []
    assert due is not None
    store.embedding.put(store_id, MINI, map(embedded, due[1]), 2)  # late: nothing comes of it
    assert not path.exists()
    path.write_bytes(b"left by a crash")
    store.vector_store_files.sweep(store_id)
    assert not path.exists()


def test_another_model_starts_from_the_beginning(store: Store) -> None:
    store_id = made(store)
    settled(store, store_id, "kitten")
    embed_all(store)
    assert found(store, store_id, "feline", embedder=OTHER) == []
    embed_all(store, OTHER, 3)
    assert (store.vector_stores.get(store_id).embedder, store.vector_stores.get(store_id).dimensions) == (OTHER, 3)
    assert found(store, store_id, "feline") == []
    embed_all(store)
    assert len(found(store, store_id, "feline")) == 1


def test_other_dimensions_begin_a_store_anew(store: Store) -> None:
    store_id, other_id = made(store), made(store)
    settled(store, store_id, "kitten " * 100 * (AT_A_TIME + 6))
    settled(store, other_id, "automobile")
    embed_all(store)
    settled(store, store_id, "a second kitten")
    store.chunk_search.refresh(store_id)  # as the service does after each file
    due = store.embedding.next(MINI)
    assert due is not None
    store.embedding.put(store_id, MINI, [embedded(row, 3) for row in due[1]], 3)
    assert store.vector_stores.get(store_id).dimensions == 3
    begun = ranking(store, store_id, "feline", dimensions=3)
    assert (texts(begun.found), begun.with_vectors) == (["a second kitten"], 1)
    assert len(ranking(store, other_id, "car").found) == 1  # nothing happened to others
    embed_all(store, dimensions=3)
    again = ranking(store, store_id, "feline", dimensions=3)
    assert again.with_vectors == again.chunks > AT_A_TIME
    assert store.vector_stores.get(other_id).dimensions == 2


def test_a_search_tells_that_vectors_have_other_dimensions_by_now(store: Store) -> None:
    """Every chunk has a vector, so without the search nobody would ask the model again."""
    store_id = made(store)
    settled(store, store_id, "kitten")
    embed_all(store)
    words = ranking(store, store_id, "kitten", dimensions=3)
    assert (texts(words.found), words.chunks, words.with_vectors) == (["kitten"], 1, 0)
    assert store.embedding.progress(store_id, MINI, 3) is None  # what was counted are the old ones
    assert embed_all(store, dimensions=3) == 1
    assert ranking(store, store_id, "feline", dimensions=3).with_vectors == 1
    assert store.embedding.progress(store_id, MINI, 3) == Progress(1, 1)


def test_chunks_are_counted_with_and_without_vectors(store: Store) -> None:
    store_id = made(store)
    empty = ranking(store, store_id, "feline")
    assert (empty.found, empty.chunks, empty.with_vectors) == ([], 0, 0)
    settled(store, store_id, "kitten")
    embed_all(store)
    settled(store, store_id, "automobile")
    partly = ranking(store, store_id, "feline")
    assert (partly.chunks, partly.with_vectors) == (2, 1)
    assert ranking(store, store_id, "feline", weights=Weights(1, 0)).with_vectors == 0


def test_stores_take_turns_and_broken_ones_hide_no_other(store: Store) -> None:
    stores = [made(store) for _ in range(3)]
    for store_id in stores:
        settled(store, store_id, "kitten " * 100 * (AT_A_TIME + 1))
    (store.layout.vector_store(stores[2]) / "vector_store.json").unlink()
    turns = []
    for _ in range(4):
        due = store.embedding.next(MINI)
        assert due is not None
        turns.append(due[0])
    assert turns == [*stores[:2], *stores[:2]]
    with pytest.raises(NotFoundError):
        store.embedding.put(VectorStoreId.new(), MINI, [], 2)


def test_vectors_that_are_spoilt_or_lost_are_made_again(store: Store) -> None:
    store_id = made(store)
    path = store.vector_store_files.vectors(store_id, settled(store, store_id, "kitten"))
    spoils: list[Callable[[], object]] = [path.unlink, lambda: path.write_bytes(path.read_bytes()[:-8] + bytes(8))]
    for spoil in spoils:
        embed_all(store)
        spoil()
        for _ in range(2):
            assert found(store, store_id, "feline") == []
        assert embed_all(store) == 1
        assert texts(found(store, store_id, "feline")) == ["kitten"]

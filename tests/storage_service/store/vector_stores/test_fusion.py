"""Two rankings that become one: in range, in order, the same every time, whatever they hold."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from jan.ids import FileId
from storage_service.store.vector_stores.fusion import Weights, fuse
from storage_service.store.vector_stores.index import Hit

places = st.tuples(st.sampled_from(["file-a", "file-b", "file-c"]), st.integers(0, 9))
rankings = st.lists(places, max_size=20, unique=True).map(lambda found: [hit(*place) for place in found])
weights = st.builds(Weights, st.floats(0.01, 1e6), st.floats(0.01, 1e6))


def hit(file_id: str, start: int, score: float = 0.5) -> Hit:
    return Hit(FileId(file_id), start, start + 1, score)


def places_of(hits: list[Hit]) -> list[tuple[str, int]]:
    return [(each.file_id, each.start) for each in hits]


@given(rankings, rankings, weights)
def test_a_fused_ranking_holds_every_hit_once_in_order_and_in_range(
    words: list[Hit], meaning: list[Hit], weights: Weights
) -> None:
    fused = fuse(words, meaning, weights)
    assert sorted(places_of(fused)) == sorted({*places_of(words), *places_of(meaning)})
    scores = [each.score for each in fused]
    assert scores == sorted(scores, reverse=True)
    assert all(0 < score <= 1 for score in scores)
    assert fuse(words, meaning, weights) == fused


@given(rankings, weights)
def test_what_both_agree_on_stays(ranking: list[Hit], weights: Weights) -> None:
    fused = fuse(ranking, ranking, weights)
    assert places_of(fused) == places_of(ranking)
    assert [round(each.score, 9) for each in fused[:1]] == [1.0] * len(ranking[:1])


def test_equal_hits_come_in_the_order_of_files_and_places() -> None:
    words, meaning = [hit("file-b", 0)], [hit("file-a", 7)]
    assert places_of(fuse(words, meaning, Weights())) == [("file-a", 7), ("file-b", 0)]


def test_the_heavier_ranking_decides() -> None:
    words, meaning = [hit("file-a", 0), hit("file-b", 0)], [hit("file-b", 0), hit("file-a", 0)]
    assert places_of(fuse(words, meaning, Weights(2, 1)))[0] == ("file-a", 0)
    assert places_of(fuse(words, meaning, Weights(1, 2)))[0] == ("file-b", 0)


def test_a_ranking_that_counts_alone_keeps_its_scores() -> None:
    words, meaning = [hit("file-a", 0, 0.25)], [hit("file-b", 0, 0.75)]
    assert fuse(words, meaning, Weights(1, 0)) == words
    assert fuse(words, meaning, Weights(0, 1)) == meaning


def test_weights_that_are_next_to_nothing_are_weights() -> None:
    words, meaning = [hit("file-a", 0)], [hit("file-b", 0)]
    assert fuse(words, meaning, Weights(5e-324, 5e-324)) == fuse(words, meaning, Weights(1, 1))

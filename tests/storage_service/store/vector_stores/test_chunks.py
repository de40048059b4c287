"""Cutting texts, and the words of an index."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from storage_service.store.vector_stores.chunks import spans
from storage_service.store.vector_stores.records import Chunking
from storage_service.store.vector_stores.words import terms


def test_a_short_text_is_one_chunk() -> None:
    assert [*spans("Hello there.", Chunking(100, 50))] == [(0, 12)]
    assert [*spans("  \n ", Chunking(100, 50))] == []


def test_chunks_overlap_and_cover() -> None:
    text = " ".join(f"w{number}" for number in range(1000))
    found = [*spans(text, Chunking(100, 20))]
    assert (found[0][0], found[-1][1]) == (0, len(text))
    assert all(before[0] < after[0] < before[1] < after[1] for before, after in pairwise(found))
    assert all(len(text[start:stop].split()) == 100 for start, stop in found[:-1])


def test_a_chunk_ends_where_a_paragraph_does() -> None:
    text = "a " * 90 + "\n\n" + "b " * 90
    found = [text[start:stop] for start, stop in spans(text, Chunking(100, 0))]
    assert [part.split()[-1] for part in found] == ["a", "b"]


@given(st.text(alphabet="ab .\n東", max_size=400), st.integers(0, 50))
def test_no_token_is_lost(text: str, overlap: int) -> None:
    covered: set[int] = set()
    for start, stop in spans(text, Chunking(100, overlap)):
        covered.update(range(start, stop))
    assert all(place in covered for place, sign in enumerate(text) if not sign.isspace())


def test_terms_hold_none_of_the_syntax() -> None:
    assert terms('What "is" a NEAR(b) -c* OR') == ['"what"', '"is"', '"a"', '"near"', '"b"', '"c"', '"or"']
    assert terms("東京都 Tokyo") == ['"東 京"', '"京 都"', '"tokyo"']
    assert terms("***") == []

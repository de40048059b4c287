from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_service.answers.sse import DONE, MAX_LINE_BYTES, EventReader
from jan.errors import InternalError

STREAM = b': hello\n\ndata: {"a": 1}\n\nevent: x\r\ndata:{"b": "\xc3\xa4"}\r\n\r\nid: 3\ndata: [DONE]\n\n'


@given(st.lists(st.integers(0, len(STREAM)), max_size=8))
def test_pieces_may_end_anywhere(cuts: list[int]) -> None:
    reader = EventReader()
    bounds = [0, *sorted(cuts), len(STREAM)]
    heard = [data for start, end in pairwise(bounds) for data in reader.feed(STREAM[start:end])]
    assert heard == [b'{"a": 1}', b'{"b": "\xc3\xa4"}', DONE]


def test_an_event_without_an_end_is_given_up() -> None:
    reader = EventReader()
    piece = b"x" * (1024 * 1024)
    assert [reader.feed(piece) for _ in range(MAX_LINE_BYTES // len(piece))] == [[]] * 8
    with pytest.raises(InternalError, match="more than 8,388,608 bytes"):
        reader.feed(b"x")


def test_what_a_reader_keeps_of_a_line_is_counted_anew_with_each() -> None:
    reader = EventReader()
    line = b"data: " + b"x" * (MAX_LINE_BYTES - 10)
    for _ in range(3):
        assert reader.feed(line) == []
        assert [len(data) for data in reader.feed(b"\n")] == [len(line) - 6]

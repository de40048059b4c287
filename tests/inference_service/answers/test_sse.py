from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from inference_service.answers.sse import DONE, EventReader

STREAM = b': hello\n\ndata: {"a": 1}\n\nevent: x\r\ndata:{"b": "\xc3\xa4"}\r\n\r\nid: 3\ndata: [DONE]\n\n'


@given(st.lists(st.integers(0, len(STREAM)), max_size=8))
def test_pieces_may_end_anywhere(cuts: list[int]) -> None:
    reader = EventReader()
    bounds = [0, *sorted(cuts), len(STREAM)]
    heard = [data for start, end in pairwise(bounds) for data in reader.feed(STREAM[start:end])]
    assert heard == [b'{"a": 1}', b'{"b": "\xc3\xa4"}', DONE]

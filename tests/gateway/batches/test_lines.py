"""Lines of a large file, read a piece at a time."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.batches import lines as lines_module
from gateway.batches.lines import read_lines
from gateway.keys import STORAGE
from tests.fixtures.gateway import Gateway
from tests.gateway.client import upload

PIECE, MOST = 16, 40


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines_module, "PIECE_BYTES", PIECE)
    monkeypatch.setattr(lines_module, "MAX_LINE_BYTES", MOST)


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sizes=st.lists(st.integers(0, 3 * MOST), min_size=1, max_size=6), ends=st.booleans())
async def test_every_line_is_read_whole_with_its_number(gateway: Gateway, sizes: list[int], *, ends: bool) -> None:
    texts = [bytes([97 + place]) * size for place, size in enumerate(sizes)]
    file = await upload(gateway.client, b"\n".join(texts) + b"\n" * ends, purpose="batch")
    read = [(line.number, line.data) async for line in read_lines(gateway.app[STORAGE], file["id"])]
    wanted = [(place, text if len(text) <= MOST else None) for place, text in enumerate(texts, start=1) if text]
    assert read == wanted

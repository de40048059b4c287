"""A stream that is refused on its way is heard out, and its draft thrown away at once and once only."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from jan.errors import StorageFullError
from storage_service.access import Access
from storage_service.servicers.intake import Intake, hear_out


class Draft:
    """One with room for four bytes, that remembers what is done to it."""

    def __init__(self) -> None:
        self.done: list[str] = []

    def write(self, data: bytes) -> None:
        self.done.append(f"write {data.decode()}")
        if len(data) > 4:
            raise StorageFullError("No room.")

    def discard(self) -> None:
        self.done.append("discard")


@pytest.fixture
async def access() -> AsyncIterator[Access]:
    made = Access(lambda _: None)
    yield made
    await made.close()


async def test_what_is_taken_is_written(access: Access) -> None:
    draft = Draft()
    taken = Intake(access, draft)
    for data in (b"one", b"two"):
        await taken.write(data)
    taken.check()
    assert draft.done == ["write one", "write two"]


async def test_a_refusal_is_told_at_the_end(access: Access) -> None:
    draft = Draft()
    taken = Intake(access, draft)
    for data in (b"one", b"too long", b"two", b"too long again"):
        await taken.write(data)
    assert draft.done == ["write one", "write too long", "discard"]
    with pytest.raises(StorageFullError, match="No room"):
        taken.check()


async def test_a_stream_that_is_refused_at_once_comes_to_its_end() -> None:
    said: list[int] = []

    async def stream() -> AsyncIterator[int]:
        for number in range(3):
            said.append(number)
            yield number

    await hear_out(stream())
    assert said == [0, 1, 2]

"""Reads that several want at once: made once, and never older than the question."""

from __future__ import annotations

import asyncio

import pytest

from gateway.services.shared_reads import SharedReads
from jan.errors import UnavailableError


class Shelf:
    """Something to read, slowly."""

    def __init__(self) -> None:
        self.value = 0
        self.reads: list[str] = []
        self.may_answer = asyncio.Event()
        self.began = asyncio.Event()
        self.failure: Exception | None = None

    async def read(self, key: str) -> int:
        value = self.value
        self.reads.append(key)
        self.began.set()
        await self.may_answer.wait()
        if self.failure is not None:
            raise self.failure
        return value


async def test_who_comes_during_a_read_shares_the_next() -> None:
    shelf = Shelf()
    shared = SharedReads(shelf.read)
    first = asyncio.create_task(shared.get("a"))
    await shelf.began.wait()
    shelf.value = 1
    others = [asyncio.create_task(shared.get("a")) for _ in range(5)]
    await asyncio.sleep(0)
    shelf.may_answer.set()
    assert await first == 0
    assert await asyncio.gather(*others) == [1] * 5
    assert shelf.reads == ["a", "a"]
    shelf.value = 2
    assert await shared.get("a") == 2


async def test_keys_do_not_wait_for_each_other() -> None:
    shelf = Shelf()
    shared = SharedReads(shelf.read)
    asking = [asyncio.create_task(shared.get(key)) for key in "ab"]
    while len(shelf.reads) < 2:
        shelf.began.clear()
        await shelf.began.wait()
    shelf.may_answer.set()
    assert await asyncio.gather(*asking) == [0, 0]


async def test_a_caller_who_leaves_takes_nobody_along() -> None:
    shelf = Shelf()
    shared = SharedReads(shelf.read)
    leaving, staying = (asyncio.create_task(shared.get("a")) for _ in range(2))
    await shelf.began.wait()
    leaving.cancel()
    shelf.may_answer.set()
    assert await staying == 0
    with pytest.raises(asyncio.CancelledError):
        await leaving


async def test_who_comes_while_the_other_side_is_away_hears_of_it_at_once() -> None:
    shelf = Shelf()
    shared = SharedReads(shelf.read)
    shelf.failure = UnavailableError("storage is away")
    first = asyncio.create_task(shared.get("a"))
    await shelf.began.wait()
    others = [asyncio.create_task(shared.get("a")) for _ in range(2)]
    await asyncio.sleep(0)
    shelf.may_answer.set()
    told = await asyncio.gather(first, *others, return_exceptions=True)
    assert [str(error) for error in told] == ["storage is away"] * 3
    assert shelf.reads == ["a"]
    shelf.failure = None
    assert await shared.get("a") == 0


async def test_a_failure_reaches_all_who_asked_and_nobody_else() -> None:
    shelf = Shelf()
    shared = SharedReads(shelf.read)
    shelf.failure = ValueError("torn")
    shelf.may_answer.set()
    failed = await asyncio.gather(shared.get("a"), shared.get("a"), return_exceptions=True)
    assert [str(error) for error in failed] == ["torn", "torn"]
    shelf.failure = None
    assert await shared.get("a") == 0

"""The door: one writer per key, in order, and no cancellation that leaves a lock or half a write behind."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable

import pytest

from storage_service.access import Access
from storage_service.store.atomic import DiskFailedError


class Gate:
    """File work that waits until a test lets it go on, and tells what was done."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.open = threading.Event()
        self.done: list[str] = []

    def work(self, name: str) -> Callable[[], str]:
        def run() -> str:
            self.entered.set()
            assert self.open.wait(10)
            self.done.append(name)
            return name

        return run

    async def until_entered(self) -> None:
        await asyncio.to_thread(self.entered.wait, 10)


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
def failures() -> list[DiskFailedError]:
    return []


@pytest.fixture
async def access(failures: list[DiskFailedError]) -> AsyncIterator[Access]:
    door = Access(failures.append)
    yield door
    await door.close()


async def test_work_on_one_key_is_done_in_order_of_arrival(access: Access, gate: Gate) -> None:
    tasks = [asyncio.create_task(access.run_alone("t", gate.work(str(number)))) for number in range(5)]
    await gate.until_entered()
    gate.open.set()
    assert await asyncio.gather(*tasks) == gate.done == ["0", "1", "2", "3", "4"]


async def test_work_on_two_keys_waits_for_both(access: Access, gate: Gate) -> None:
    held = asyncio.create_task(access.run_alone("second", gate.work("held")))
    await gate.until_entered()
    both = asyncio.create_task(access.run_alone("first", gate.work("both"), "second"))
    await asyncio.sleep(0)
    after = asyncio.create_task(access.run_alone("first", gate.work("after")))
    assert await access.run_alone("third", lambda: 3) == 3
    gate.open.set()
    await asyncio.gather(held, both, after)
    assert gate.done == ["held", "both", "after"]


async def test_other_keys_and_reads_do_not_wait(access: Access, gate: Gate) -> None:
    held = asyncio.create_task(access.run_alone("t", gate.work("held")))
    await gate.until_entered()
    assert await access.run_alone("other", lambda: 1) == 1
    assert await access.run(lambda: 2) == 2
    assert gate.done == []
    gate.open.set()
    assert await held == "held"


async def test_work_that_began_ends_before_its_cancellation_is_obeyed(access: Access, gate: Gate) -> None:
    task = asyncio.create_task(access.run_alone("t", gate.work("first")))
    await gate.until_entered()
    following = asyncio.create_task(access.run_alone("t", gate.work("second")))
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0)
    assert not task.done()
    gate.open.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await following == "second"
    assert gate.done == ["first", "second"]


async def test_a_caller_cancelled_while_it_waits_does_nothing(access: Access, gate: Gate) -> None:
    held = asyncio.create_task(access.run_alone("t", gate.work("held")))
    await gate.until_entered()
    waiting = asyncio.create_task(access.run_alone("t", gate.work("never")))
    last = asyncio.create_task(access.run_alone("t", gate.work("last")))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    gate.open.set()
    await held
    await last
    assert gate.done == ["held", "last"]


async def test_no_lock_outlives_its_users(access: Access) -> None:
    def fail() -> None:
        raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011  the very exception that the work raised
        await access.run_alone("t", fail)
    await asyncio.gather(*(access.run_alone("t", lambda: None) for _ in range(10)))
    assert len(access._lines) == 0


async def test_a_failed_disk_is_told_before_the_caller(access: Access, failures: list[DiskFailedError]) -> None:
    def fail() -> None:
        raise DiskFailedError("fsync failed")

    with pytest.raises(DiskFailedError):
        await access.run_alone("t", fail)
    assert len(failures) == 1

"""Requests that wait one behind the other share a turn, and each keeps its own outcome."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence

import pytest

from jan.errors import InvalidArgumentError, JanError, NotFoundError
from storage_service import turns
from storage_service.access import Access
from storage_service.store.atomic import DiskFailedError


class Desk:
    """Work for many requests in one call: each is answered by itself, and `bad` by an error; it waits until let go."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self.calls: list[list[str]] = []
        self.acknowledged: list[str] = []
        self.entered = threading.Event()
        self.open = threading.Event()

    async def ask(self, request: str) -> str:
        answer = await self._access.run_together("t", request, self.work)
        self.acknowledged.append(answer)
        return answer

    async def ask_for_all(self, *requests: str) -> list[asyncio.Task[str]]:
        """Ask, one after another, and do not wait for the answers."""
        tasks = [asyncio.create_task(self.ask(request)) for request in requests]
        await asyncio.sleep(0)
        return tasks

    def work(self, requests: Sequence[str]) -> Sequence[str | JanError]:
        self.entered.set()
        assert self.open.wait(10)
        self.calls.append(list(requests))
        return [InvalidArgumentError("bad") if request == "bad" else request for request in requests]

    async def hold(self) -> asyncio.Task[str]:
        """Begin with a request that is under way."""
        [first] = await self.ask_for_all("first")
        await asyncio.to_thread(self.entered.wait, 10)
        return first


@pytest.fixture
async def access() -> AsyncIterator[Access]:
    door = Access(lambda error: None)
    yield door
    await door.close()


@pytest.fixture
def desk(access: Access) -> Desk:
    return Desk(access)


async def test_all_that_wait_share_one_call_in_order_of_arrival(desk: Desk) -> None:
    first = await desk.hold()
    waiting = await desk.ask_for_all("a", "b", "c")
    desk.open.set()
    assert await asyncio.gather(first, *waiting) == ["first", "a", "b", "c"] == desk.acknowledged
    assert desk.calls == [["first"], ["a", "b", "c"]]


async def test_what_comes_at_one_moment_shares_the_first_call(desk: Desk) -> None:
    desk.open.set()
    await asyncio.gather(*await desk.ask_for_all("a", "b"))
    assert desk.calls == [["a", "b"]]


async def test_one_requests_error_is_no_others(desk: Desk) -> None:
    first = await desk.hold()
    good, bad, better = await desk.ask_for_all("good", "bad", "better")
    desk.open.set()
    assert await asyncio.gather(*[first, good, better]) == ["first", "good", "better"]
    with pytest.raises(InvalidArgumentError):
        await bad


async def test_what_the_work_raises_is_everybodys(access: Access) -> None:
    def fail(requests: Sequence[str]) -> Sequence[str]:
        raise NotFoundError(f"none of {len(requests)}")

    results = await asyncio.gather(*(access.run_together("t", name, fail) for name in "ab"), return_exceptions=True)
    assert [str(result) for result in results] == ["none of 2"] * 2
    assert len(access._lines) == 0


async def test_a_failed_disk_is_told_once_and_before_anybody() -> None:
    told: list[DiskFailedError] = []
    door = Access(told.append)

    def fail(requests: Sequence[str]) -> Sequence[str]:
        raise DiskFailedError("fsync failed")

    results = await asyncio.gather(*(door.run_together("t", name, fail) for name in "abc"), return_exceptions=True)
    assert results == told * 3
    await door.close()


async def test_nobody_is_overtaken(access: Access, desk: Desk) -> None:
    first = await desk.hold()
    early = await desk.ask_for_all("a", "b")
    alone = asyncio.create_task(access.run_alone("t", lambda: desk.calls.append(["alone"])))
    await asyncio.sleep(0)
    late = await desk.ask_for_all("c")
    desk.open.set()
    await asyncio.gather(first, *early, alone, *late)
    assert desk.calls == [["first"], ["a", "b"], ["alone"], ["c"]]


@pytest.mark.parametrize("leaving", [["a"], ["b"], ["a", "c"], ["a", "b", "c"]])
async def test_who_leaves_while_waiting_is_left_out_and_disturbs_nobody(desk: Desk, leaving: list[str]) -> None:
    first = await desk.hold()
    tasks = dict(zip("abc", await desk.ask_for_all("a", "b", "c"), strict=True))
    for name in leaving:
        tasks.pop(name).cancel()
    await asyncio.sleep(0)
    after = await desk.ask_for_all("d")
    desk.open.set()
    staying = [*tasks, "d"]
    assert await asyncio.gather(first, *tasks.values(), *after) == ["first", *staying]
    assert desk.calls == [["first"], staying]


async def test_a_line_of_nobody_moves_on(access: Access, desk: Desk) -> None:
    first = await desk.hold()
    for task in await desk.ask_for_all("a", "b"):
        task.cancel()
    alone = asyncio.create_task(access.run_alone("t", lambda: "alone"))
    await asyncio.sleep(0)
    desk.open.set()
    assert [await first, await alone] == ["first", "alone"]
    assert desk.calls == [["first"]]


async def test_who_leaves_in_the_middle_loses_only_the_answer(access: Access, desk: Desk) -> None:
    leaver, stayer = await desk.ask_for_all("leaver", "stayer")
    await asyncio.to_thread(desk.entered.wait, 10)
    leaver.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaver
    alone = asyncio.create_task(access.run_alone("t", lambda: list(desk.calls)))
    desk.open.set()
    assert await stayer == "stayer"
    assert await alone == [["leaver", "stayer"]], "the key was free while its work was under way"


async def test_a_batch_has_an_end(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "MOST_TOGETHER", 2)
    first = await desk.hold()
    waiting = await desk.ask_for_all(*"abcde")
    desk.open.set()
    await asyncio.gather(first, *waiting)
    assert desk.calls == [["first"], ["a", "b"], ["c", "d"], ["e"]]
    assert desk.acknowledged == ["first", *"abcde"]


async def test_closing_waits_for_work_that_nobody_waits_for(desk: Desk) -> None:
    [task] = await desk.ask_for_all("a")
    await asyncio.to_thread(desk.entered.wait, 10)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    closing = asyncio.create_task(desk._access.close())
    await asyncio.sleep(0)
    assert not closing.done()
    desk.open.set()
    await closing
    assert desk.calls == [["a"]]

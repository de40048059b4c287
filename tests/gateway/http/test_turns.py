from __future__ import annotations

import asyncio
from itertools import pairwise

from gateway.http.turns import Turns
from jan.tasks import end


async def begin(turns: Turns, *people: str) -> tuple[list[str], list[asyncio.Task[None]]]:
    """Requests of these people that come in one moment, and whose of them have begun."""
    begun: list[str] = []

    async def one(who: str) -> None:
        await turns.wait(who)
        begun.append(who)

    tasks = [asyncio.create_task(one(who)) for who in people]
    await asyncio.sleep(0)
    return begun, tasks


async def test_who_comes_alone_waits_for_nothing() -> None:
    turns = Turns()
    for _ in range(3):
        begun, _ = await begin(turns, "ann")
        assert begun == ["ann"]
        await asyncio.sleep(0)
        await asyncio.sleep(0)


async def test_people_take_turns_however_many_requests_one_of_them_sent() -> None:
    begun, tasks = await begin(Turns(), *["ann"] * 5, "ben", "cid", "ben")
    await asyncio.gather(*tasks)
    assert begun == ["ann", "ann", "ben", "cid", "ann", "ben", "ann", "ann"]


async def test_others_go_on_between_two_that_begin() -> None:
    begun, tasks = await begin(Turns(), *["ann"] * 5)

    async def go_on() -> None:
        while True:
            begun.append("other")
            await asyncio.sleep(0)

    other = asyncio.create_task(go_on())
    await asyncio.gather(*tasks)
    await end(other)
    assert begun.count("ann") == 5
    assert ("ann", "ann") not in pairwise(begun[1:])


async def test_who_leaves_holds_up_nobody() -> None:
    begun, tasks = await begin(Turns(), "ann", "ben", "ben", "cid")
    await end(tasks[1], tasks[2])
    await asyncio.gather(tasks[0], tasks[3])
    assert begun in (["ann", "cid"], ["ann", "ben", "cid"])
    assert (await begin(Turns(), "ben"))[0] == ["ben"]

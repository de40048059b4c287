"""A Redis that comes back with what it held earlier: nobody is told the beginning of one answer and the end of another.

It lost its last moments with its machine, and the worker died with it: the next one goes on from what Redis holds, in
words of its own, while readers elsewhere have read more.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import pytest
from redis.asyncio import Redis

from jan import keys
from jan.inference.v1 import jobs_pb2
from jan.queue.follower import LogFollower
from jan.queue.jobs import JobQueue, ReleaseOutcome, TakenJob
from jan.queue.leases import LeaseKind, StalledLease
from jan.queue.log import LogWriter
from jan.queue.scripts import Scripts
from jan.queue.subscription import LogRestartedError, LogSubscription
from jan.redis import connect
from tests.fixtures.redis import RedisServer
from tests.jan.queue.test_jobs import job, take

_FILES = "appendonlydir"


class House:
    """A Redis that can be put back to an earlier moment, and who uses it."""

    def __init__(self, server: RedisServer, redis: Redis, follower: LogFollower) -> None:
        self._server = server
        self._saved = server.folder / "saved"
        self.redis = redis
        self.follower = follower
        self.scripts = Scripts.register(redis)
        self.queue = JobQueue(redis, self.scripts)

    async def save(self) -> None:
        """Remember what Redis holds now: it writes before it answers, if it is told to."""
        await asyncio.to_thread(shutil.copytree, self._server.folder / _FILES, self._saved)

    async def lose_power(self, *, loses: bool = True) -> None:
        """Have Redis die and come back: with what was saved or, if it `loses` nothing, with what it held last."""
        await asyncio.to_thread(self._server.kill)
        if loses:
            files = self._server.folder / _FILES
            await asyncio.to_thread(shutil.rmtree, files)
            await asyncio.to_thread(shutil.copytree, self._saved, files)
        await asyncio.to_thread(self._server.start)
        await self.redis.config_set("appendfsync", "always")

    async def say(self, taken: TakenJob, *words: bytes, ends: bool = False) -> None:
        """Publish behind what earlier holders have said, as Redis told whoever took the job."""
        await LogWriter(self.scripts, taken.lease, published=taken.published).publish(words, ends=ends)

    async def lose_worker(self) -> ReleaseOutcome:
        """Find that the job's worker is dead."""
        leases = cast(dict[bytes, bytes], await self.redis.hgetall(keys.leases(LeaseKind.JOB)))
        [(id_, seen)] = leases.items()
        return await self.queue.reclaim(StalledLease(id_.decode(), seen.decode()))


@pytest.fixture
async def house() -> AsyncIterator[House]:
    with tempfile.TemporaryDirectory(prefix="jan-redis-") as folder:
        server = RedisServer(Path(folder))
        await asyncio.to_thread(server.start)
        redis = connect(server.url)
        try:
            await redis.config_set("appendfsync", "always")
            follower = LogFollower(redis)
            async with follower.running():
                yield House(server, redis, follower)
        finally:
            await redis.aclose()
            await asyncio.to_thread(server.kill)


async def read(subscription: LogSubscription, count: int) -> list[bytes]:
    """So many words."""
    words: list[bytes] = []
    batches = subscription.batches(idle_seconds=50)
    while len(words) < count:
        words += [entry.payload for entry in await anext(batches)]
    await batches.aclose()
    return words


async def begun(house: House) -> None:
    """A job that has said five words, three of which Redis will remember."""
    await house.queue.submit(job("j"))
    writer = LogWriter(house.scripts, (await take(house.queue)).lease)
    await writer.publish([b"The", b" capital", b" of"])
    await house.save()
    await writer.publish([b" France", b" is"])


async def test_a_reader_is_not_told_the_end_of_another_answer(house: House) -> None:
    await begun(house)
    async with house.follower.follow("j") as subscription:
        await read(subscription, 5)
        await house.lose_power()
        await house.lose_worker()
        taken = await take(house.queue)
        assert taken.published == 3
        await house.say(taken, b" Italy", b" was", b" once", b" Turin", ends=True)
        with pytest.raises(LogRestartedError):
            await read(subscription, 1)


async def test_a_reader_is_not_told_it_of_the_third_that_went_on_either(house: House) -> None:
    """The second died as well, at the very place up to which the reader has heard the first."""
    await begun(house)
    async with house.follower.follow("j") as subscription:
        await read(subscription, 5)
        await house.lose_power()
        await house.lose_worker()
        await house.say(await take(house.queue), b" Italy", b" was")
        await house.lose_worker()
        await house.say(await take(house.queue), b" once", b" Turin", ends=True)
        with pytest.raises(LogRestartedError):
            await read(subscription, 1)


@pytest.mark.parametrize("goes_on", [0, 1, 2])
async def test_a_reader_who_has_heard_more_than_there_is_knows_it(house: House, goes_on: int) -> None:
    """Before anything comes that he could be told: perhaps nothing does."""
    await begun(house)
    async with house.follower.follow("j") as subscription:
        await read(subscription, 5)
        assert await house.follower.holds(subscription)
        await house.lose_power()
        if goes_on:
            await house.lose_worker()
            await house.say(await take(house.queue), *[b"other"] * goes_on)
        assert not await house.follower.holds(subscription)


@pytest.mark.parametrize("how", ["cancelled", "given up"])
async def test_an_end_behind_what_redis_holds_is_not_the_end_of_what_was_heard(house: House, how: str) -> None:
    await house.queue.submit(job("j"))
    writer = LogWriter(house.scripts, (await take(house.queue)).lease)
    await writer.publish([b"The", b" capital"])
    await house.save()
    await writer.publish([b" of"])
    async with house.follower.follow("j") as subscription:
        await read(subscription, 3)
        await house.lose_power()
        if how == "cancelled":
            await house.queue.cancel("j")
            assert await house.lose_worker() is ReleaseOutcome.ENDED
        else:
            while await house.lose_worker() is ReleaseOutcome.RELEASED:
                await take(house.queue)
        assert (await house.follower.bounds("j")).ended
        assert not await house.follower.holds(subscription)


@pytest.mark.parametrize("after", [0, 2, 3, 4, 5])
async def test_an_answer_that_goes_on_with_nothing_lost_is_one(house: House, after: int) -> None:
    """For who follows it, and for who takes it up behind any of its events."""
    await begun(house)
    async with house.follower.follow("j") as subscription:
        await read(subscription, 5)
        await house.lose_power(loses=False)
        await house.lose_worker()
        await house.say(await take(house.queue), b" Paris")
        assert await read(subscription, 1) == [b" Paris"]
        assert await house.follower.holds(subscription)
        await house.lose_worker()
        await house.say(await take(house.queue), b".", ends=True)
        assert await read(subscription, 1) == [b"."]
    bounds = await house.follower.bounds("j", after=after)
    assert (bounds.first, bounds.last, bounds.ended) == (1, 7, True)
    async with house.follower.follow("j", after=after, generation=bounds.generation) as subscription:
        assert len(await read(subscription, 7 - after)) == 7 - after


async def test_a_job_that_is_cancelled_behind_a_lost_worker_ends_for_its_reader(house: House) -> None:
    await begun(house)
    async with house.follower.follow("j") as subscription:
        await read(subscription, 5)
        await house.lose_worker()
        await house.queue.cancel("j")
        [end] = await read(subscription, 1)
        assert jobs_pb2.JobEvent.FromString(end).HasField("cancelled")

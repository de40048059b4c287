"""Round trips: how many there are, and that sharing one ties nobody's fate to another's."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import DataError, ResponseError

from jan.inference.v1 import jobs_pb2
from jan.queue.jobs import JobQueue
from jan.queue.log import LogWriter
from jan.queue.scripts import Scripts
from jan.queue.trips import Trips
from jan.redis import connect
from tests.fixtures.redis import RedisServer

LAST = "that is all"


async def sent(redis: Redis, monitor: Any) -> list[str]:
    """What clients have sent since the monitor began; not what scripts did."""
    await redis.echo(LAST)
    seen = []
    while not (command := await monitor.next_command())["command"].endswith(LAST):
        if command["client_type"] != "lua":
            seen.append(command["command"].split()[0])
    return seen


async def test_enqueue_take_and_finish_are_one_round_trip_each(redis: Redis, redis_server: RedisServer) -> None:
    scripts = Scripts.register(redis)
    queue = JobQueue(redis, scripts)

    async def one_job(id_: str) -> None:
        await queue.submit(jobs_pb2.Job(id=id_, tenant="ann", model=jobs_pb2.ModelSpec(id="m")))
        taken = await queue.take()
        assert taken is not None
        await LogWriter(scripts, taken.lease).publish([b"end"], ends=True, spent_tokens=7)

    await one_job("first")  # now the server knows the scripts
    watcher = connect(redis_server.url)
    async with watcher.monitor() as monitor:
        await one_job("second")
        assert await sent(redis, monitor) == ["EVALSHA", "EVALSHA", "EVALSHA"]
    await watcher.aclose()


async def test_calls_that_come_together_share_one_connection(redis: Redis) -> None:
    before = len(await redis.client_list())
    trips = Trips(redis)
    assert set(await asyncio.gather(*(trips.ask("PING") for _ in range(50)))) == {b"PONG"}
    assert len(await redis.client_list()) == before


async def test_an_error_is_told_to_its_caller_only(redis: Redis) -> None:
    trips = Trips(redis)
    answers = await asyncio.gather(
        trips.ask("PING"), trips.ask("NOSUCHCOMMAND"), trips.ask("ECHO", "x"), return_exceptions=True
    )
    assert (answers[0], answers[2]) == (b"PONG", b"x")
    assert isinstance(answers[1], ResponseError)


async def test_a_caller_who_is_cancelled_takes_nobody_along(redis: Redis) -> None:
    trips = Trips(redis)
    first, second = (asyncio.create_task(trips.ask("ECHO", word)) for word in ("first", "second"))
    await asyncio.sleep(0)  # both have asked
    first.cancel()
    assert await second == b"second"
    assert first.cancelled()
    assert await trips.ask("ECHO", "third") == b"third"


async def test_what_cannot_be_sent_fails_alone(redis: Redis) -> None:
    trips = Trips(redis)
    nothing = cast(str, None)
    answers = await asyncio.gather(trips.ask("PING"), trips.ask("ECHO", nothing), return_exceptions=True)
    assert answers[0] == b"PONG"
    assert isinstance(answers[1], DataError | TypeError)


async def test_a_broken_connection_is_made_anew(redis: Redis) -> None:
    trips = Trips(redis)
    assert await trips.ask("PING") == b"PONG"
    await redis.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")  # type: ignore[no-untyped-call]
    assert await asyncio.gather(*(trips.ask("ECHO", str(number)) for number in range(3))) == [b"0", b"1", b"2"]


async def test_without_redis_everybody_hears_of_it_and_later_calls_try_again(redis: Redis) -> None:
    away = connect("unix:///nowhere/redis.sock")
    trips = Trips(away)
    for _ in range(2):
        answers = await asyncio.gather(*(trips.ask("PING") for _ in range(300)), return_exceptions=True)
        assert {type(answer) for answer in answers} == {RedisConnectionError}
    await away.aclose()


async def test_a_call_that_comes_while_the_connection_is_given_back_is_sent(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    trips = Trips(redis)
    second: asyncio.Task[Any] | None = None
    really_release = redis.connection_pool.release

    async def release_slowly(connection: AbstractConnection) -> None:
        nonlocal second
        if second is None:
            second = asyncio.create_task(trips.ask("ECHO", "second"))
            await asyncio.sleep(0)  # it has asked
        await really_release(connection)
        released.set()

    released = asyncio.Event()
    monkeypatch.setattr(redis.connection_pool, "release", release_slowly)
    assert await trips.ask("ECHO", "first") == b"first"
    await released.wait()
    assert second is not None
    async with asyncio.timeout(30):
        assert await second == b"second"


async def test_a_trip_takes_no_more_calls_along_than_are_answered_in_its_time(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each trip has the time limit of one reply, however many have gathered."""
    written: list[int] = []
    really_send = AbstractConnection.send_packed_command

    async def send(connection: AbstractConnection, command: Any, check_health: bool = True) -> None:
        written.append(command.count(b"ECHO") if isinstance(command, bytes) else 0)
        await really_send(connection, command, check_health)

    trips = Trips(redis)
    monkeypatch.setattr(AbstractConnection, "send_packed_command", send)
    answers = await asyncio.gather(*(trips.ask("ECHO", number) for number in range(600)))
    assert answers == [str(number).encode() for number in range(600)]
    assert sum(written) == 600
    assert max(written) <= 256

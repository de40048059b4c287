"""docs/redis-keys.md names every key, field, life time and bound, and no other."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable
from types import FunctionType
from typing import cast

from redis.asyncio import Redis

from jan import keys
from jan.inference.v1 import jobs_pb2
from jan.queue.hosts import Hosts
from jan.queue.jobs import MAX_LOST_WORKERS, JobQueue
from jan.queue.leases import StalledLease
from jan.queue.log import LogWriter
from jan.queue.runs import RunLeases
from jan.queue.scripts import Scripts
from jan.queue.waits import Wait, WaitKind, tell_wait
from tests.docs import markdown

PAGE = markdown.read("docs/redis-keys.md")


def patterns() -> set[str]:
    """Every key of `jan.keys`, with `<parameter>` where a key function takes one."""
    fixed = {value for name, value in vars(keys).items() if isinstance(value, str) and value.startswith(keys.PREFIX)}
    made = {
        make(*(f"<{parameter}>" for parameter in inspect.signature(make).parameters))
        for make in vars(keys).values()
        if isinstance(make, FunctionType)
    }
    return (fixed | made) - {keys.PREFIX}


def described_keys() -> set[str]:
    table, _, _ = PAGE.partition("\n## ")
    return set(re.findall(rf"^\| `({keys.PREFIX}[^`]+)` \|", table, re.MULTILINE))


def described_fields(heading: str) -> set[str]:
    rows = re.findall(r"^\| (`[^|]+) \|", markdown.section(PAGE, heading), re.MULTILINE)
    return {field for row in rows for field in re.findall(r"`([^`]+)`", row)}


def test_every_key_is_described_and_every_described_one_exists() -> None:
    assert described_keys() == patterns()


def test_life_times_and_bounds_are_those_of_the_code() -> None:
    constants = {f"| `{name}` | {value:,} |" for name, value in vars(keys).items() if isinstance(value, int)}
    assert constants
    assert {constant for constant in constants if constant in PAGE} == constants


async def test_every_field_is_described_and_every_described_one_exists(redis: Redis) -> None:
    scripts = Scripts.register(redis)
    queue = JobQueue(redis, scripts)
    job = jobs_pb2.Job(id="j", tenant="ann", cost_tokens=3, model=jobs_pb2.ModelSpec(id="m"))
    await queue.submit(job)
    for _ in range(MAX_LOST_WORKERS):
        taken = await queue.take()
        assert taken is not None
        await queue.reclaim(StalledLease("j", f"{taken.lease.token}:0"))
    assert await queue.requeue("j")
    taken = await queue.take()
    assert taken is not None
    await queue.hand_back(taken, spent_tokens=3)
    taken = await queue.take()
    assert taken is not None
    await Hosts(redis, scripts, "other").beat((), ())
    assert await queue.pass_on(taken, "here", "no memory") == []
    taken = await queue.take()
    assert taken is not None
    await tell_wait(scripts, taken.lease, Wait(WaitKind.LOADING))
    await queue.cancel("j")  # while it runs, so that the mark is there
    leases = RunLeases(redis, scripts)
    held = await leases.acquire("run_1")
    assert held is not None
    await leases.mark_retold("run_1")
    await LogWriter(scripts, held.lease).publish([b"event"])

    assert await fields(redis, keys.job("j")) == described_fields("## `jan:job:<job_id>`")
    assert await fields(redis, keys.run("run_1")) == described_fields("## `jan:run:<run_id>`")
    members = cast(list[bytes], await redis.zrange(keys.virtual_times("2:m"), 0, -1))
    times = {member.decode().replace("ann", "<tenant>") for member in members}
    assert times == described_fields("## Fairness: `jan:queue:times:<name>` and its neighbours")
    await queue.submit(jobs_pb2.Job(id="k", tenant="ann", cost_tokens=3, model=jobs_pb2.ModelSpec(id="m")))
    other = await queue.take()
    assert other is not None
    await LogWriter(scripts, other.lease).publish([b"event"], ends=True, spent_tokens=3)
    assert await fields(redis, keys.pace("m")) == described_fields("## Ranks and times: `jan:queue:pace:<model_id>`")


async def fields(redis: Redis, key: str) -> set[str]:
    names: Iterable[bytes] = await redis.execute_command("HKEYS", key)  # type: ignore[no-untyped-call]
    return {name.decode() for name in names}

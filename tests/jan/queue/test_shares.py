"""What the queue promises people (issue figures), on the real scripts in virtual time: shares, newcomers, classes."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Sequence
from typing import cast

import pytest
from redis.asyncio import Redis

from jan import keys
from jan.inference.v1 import jobs_pb2
from jan.queue.bounds import Weights
from jan.queue.jobs import JobQueue, ReleaseOutcome
from jan.queue.leases import StalledLease
from jan.queue.log import LogWriter
from jan.queue.look import look
from jan.queue.waits import Wait, WaitKind, tell_wait
from tests.jan.queue.simulation import SimulatedHost
from tests.jan.queue.virtual import VirtualTime

JOB_MS = 1000


@pytest.fixture
def time(redis: Redis) -> VirtualTime:
    return VirtualTime(redis)


@pytest.fixture
def queue(redis: Redis, time: VirtualTime) -> JobQueue:
    return JobQueue(redis, time.scripts)


def job(
    id_: str,
    tenant: str,
    cost: int = 100,
    priority: jobs_pb2.Priority.ValueType = jobs_pb2.PRIORITY_NORMAL,
    model: str = "m",
) -> jobs_pb2.Job:
    return jobs_pb2.Job(id=id_, tenant=tenant, model=jobs_pb2.ModelSpec(id=model), cost_tokens=cost, priority=priority)


@pytest.mark.slow
@pytest.mark.parametrize("cost", [1, 100, 100_000])
async def test_a_newcomer_starts_within_one_job_length_whatever_he_asks(
    time: VirtualTime, queue: JobQueue, cost: int
) -> None:
    for number in range(500):
        await queue.submit(job(f"bulk{number}", "bulk"))
    host = SimulatedHost(time, queue, slots=4, duration_ms=lambda _: JOB_MS)
    await host.work_until(10_500)
    await queue.submit(job("question", "newcomer", cost))
    await host.work_until(12_500)
    assert host.started_ms["question"] - 10_500 <= JOB_MS


@pytest.mark.slow
async def test_shares_of_a_minute_follow_weights_though_estimates_are_wrong(redis: Redis, time: VirtualTime) -> None:
    """Each tenant errs in his own way, and sends jobs of another size; what counts is what was used."""
    weights = {"one": 1.0, "two": 2.0, "four": 4.0}
    used = {"one": 50, "two": 400, "four": 130}
    queue = JobQueue(redis, time.scripts, Weights(weights))
    for number in range(500):
        for tenant, cost in (("one", 50), ("two", 20), ("four", 900)):
            await queue.submit(job(f"{tenant}{number}", tenant, cost))
    host = SimulatedHost(
        time,
        queue,
        slots=8,
        duration_ms=lambda job: used[job.tenant] * 10,
        spent=lambda job: used[job.tenant],
    )
    await host.work_until(60_000)
    total = sum(host.tokens.values())
    for tenant, weight in weights.items():
        assert host.tokens[tenant] / total == pytest.approx(weight / 7, rel=0.1)


async def test_nobody_saves_up_turns_by_staying_away(time: VirtualTime, queue: JobQueue) -> None:
    """Ann's job was thought to be large and was not; what she gets back is no more than a newcomer's place."""
    await queue.submit(job("large", "ann", cost=10_000))
    taken = await queue.take()
    assert taken is not None
    for number in range(20):
        await queue.submit(job(f"bob{number}", "bob"))
    await take(queue, 10)
    await LogWriter(time.scripts, taken.lease).publish([b"end"], ends=True, spent_tokens=1)
    for number in range(20):
        await queue.submit(job(f"ann{number}", "ann"))
    # Like any newcomer she is next, and the first of equals by name; from there on they take turns.
    assert await take(queue, 6) == ["ann0", "ann1", "bob10", "ann2", "bob11", "ann3"]


async def test_nothing_is_kept_of_tenants_who_are_not_ahead(redis: Redis, queue: JobQueue) -> None:
    for number in range(50):
        await queue.submit(job(f"j{number}", f"person{number}"))
        await take(queue, 1)
    await queue.submit(job("large", "ann", cost=10_000))
    await queue.submit(job("after", "bob"))
    await take(queue, 2)
    members = cast(list[bytes], await redis.zrange(keys.virtual_times("2:m"), 0, -1))
    assert b"t:ann" in members
    assert len(members) <= 53
    for number in range(3):
        await queue.submit(job(f"later{number}", "bob"))
        await take(queue, 1)
    members = cast(list[bytes], await redis.zrange(keys.virtual_times("2:m"), 0, -1))
    assert set(members) == {b"now", b"t:ann", b"t:bob"}


async def take(queue: JobQueue, count: int) -> list[str]:
    names = []
    for _ in range(count):
        taken = await queue.take()
        assert taken is not None
        names.append(taken.job.id)
    return names


@pytest.mark.slow
async def test_lower_classes_start_a_job_in_their_time_however_much_comes_in_above(
    time: VirtualTime, queue: JobQueue
) -> None:
    for number in range(10):
        await queue.submit(job(f"batch{number}", "night", priority=jobs_pb2.PRIORITY_BATCH))
        await queue.submit(job(f"normal{number}", "script"))
    for number in range(400):
        await queue.submit(job(f"chat{number}", f"person{number % 7}", priority=jobs_pb2.PRIORITY_INTERACTIVE))
    host = SimulatedHost(time, queue, slots=2, duration_ms=lambda _: JOB_MS)
    await host.work_until(185_000)
    for kind, seconds in (("normal", keys.NORMAL_AGES_SECONDS), ("batch", keys.BATCH_AGES_SECONDS)):
        starts = [0, *(start for id_, start in host.started_ms.items() if id_.startswith(kind))]
        waits = [later - earlier for earlier, later in itertools.pairwise(starts)]
        assert len(waits) >= 3
        assert max(waits) <= seconds * 1000 + JOB_MS
        assert min(waits) >= seconds * 1000


@pytest.mark.slow
@pytest.mark.parametrize("slots", [1, 8])
async def test_estimates_are_within_a_factor_of_two_in_steady_state(
    time: VirtualTime, queue: JobQueue, slots: int
) -> None:
    """Jobs of very different length, thirty always waiting. Nearly all estimates hold; on the whole they are right."""
    chance = random.Random(7)
    lengths = {f"j{number}": int(chance.expovariate(1 / 4000)) + 500 for number in range(400)}
    host = SimulatedHost(time, queue, slots, duration_ms=lambda job: lengths[job.id])
    check(await told_and_true(time, queue, host, [100] * 400))


@pytest.mark.slow
@pytest.mark.parametrize("slots", [1, 8])
async def test_estimates_are_within_a_factor_of_two_though_jobs_differ_in_size(
    time: VirtualTime, queue: JobQueue, slots: int
) -> None:
    """Twenty small jobs and ten that are twenty times as large take turns: what is ahead counts, not how many."""
    costs = [2000 if number % 30 >= 20 else 100 for number in range(400)]
    chance = random.Random(7)
    host = SimulatedHost(time, queue, slots, duration_ms=lambda job: int(job.cost_tokens * chance.uniform(4, 6)))
    check(await told_and_true(time, queue, host, costs))


@pytest.mark.slow
async def test_estimates_are_within_a_factor_of_two_with_several_hosts_and_models(
    time: VirtualTime, queue: JobQueue
) -> None:
    """One model on two hosts, one of which is twice as fast, another on a third: neither's jobs count for the other."""

    def host(model: str, slots: int, token_ms: float) -> SimulatedHost:
        not_here = {"m", "n"} - {model}
        return SimulatedHost(
            time, queue, slots, duration_ms=lambda job: int(job.cost_tokens * token_ms), not_here=not_here
        )

    hosts = [host("m", 1, 4), host("m", 4, 8), host("n", 2, 1)]
    submitted = Counter[str]()
    told: dict[str, tuple[int, float]] = {}
    for now in range(0, 120_000, 200):
        for each in hosts:
            await each.work_until(now)
        started = {id_: at for each in hosts for id_, at in each.started_ms.items()}
        for model in ("m", "n"):
            while submitted[model] < sum(id_.startswith(model) for id_ in started) + 30:
                id_ = f"{model}{submitted[model]}"
                cost = (100, 300, 800)[submitted[model] // 5 % 3]
                await queue.submit(job(id_, f"person{submitted[model] % 5}", cost, model=model))
                if submitted[model] > 60:
                    eta = (await look(time.scripts)).by_id[id_].eta_seconds
                    assert eta is not None
                    told[id_] = (now, eta)
                submitted[model] += 1
    for model in ("m", "n"):
        check(
            [(eta, (started[id_] - at) / 1000) for id_, (at, eta) in told.items() if id_ in started and id_[0] == model]
        )


async def test_no_time_is_told_while_the_model_loads_for_all_who_were_taken(time: VirtualTime, queue: JobQueue) -> None:
    """What is told of it is the load that is nearest. Where one is answered, who waits need not know of loads."""
    host = SimulatedHost(time, queue, 1, duration_ms=lambda _: JOB_MS)
    await queue.submit(job("before", "ann"))
    await host.work_until(2 * JOB_MS)  # now it is known how fast it goes
    for number in range(4):
        await queue.submit(job(f"j{number}", "ann"))
    waits = [Wait(WaitKind.WAITING), Wait(WaitKind.LOADING, 0.25), Wait(WaitKind.LOADING, 0.5)]
    taken = [await queue.take() for _ in waits]
    for one, wait in zip(taken, waits, strict=True):
        assert one is not None
        await tell_wait(time.scripts, one.lease, wait)
    [last] = (await look(time.scripts)).waiting
    assert (last.eta_seconds, last.wait) == (None, waits[-1])
    assert taken[0] is not None
    await tell_wait(time.scripts, taken[0].lease, None)
    [last] = (await look(time.scripts)).waiting
    assert (last.eta_seconds == pytest.approx(JOB_MS / 1000), last.wait) == (True, None)


async def test_nobody_is_told_to_begin_at_once_while_what_runs_takes_longer_than_usual(
    time: VirtualTime, queue: JobQueue
) -> None:
    """The machine has more to do than it had lately: it was told `eta=0` for as long as that went on."""
    host = SimulatedHost(time, queue, 2, duration_ms=lambda _: JOB_MS)
    await queue.submit(job("before", "ann"))
    await host.work_until(2 * JOB_MS)
    for number in range(4):
        await queue.submit(job(f"j{number}", "ann"))
    await take(queue, 2)
    await time.be(12 * JOB_MS)
    waiting = (await look(time.scripts)).waiting
    assert [one.eta_seconds for one in waiting] == pytest.approx([JOB_MS / 4000, JOB_MS / 4000])


async def told_and_true(
    time: VirtualTime, queue: JobQueue, host: SimulatedHost, costs: Sequence[int]
) -> list[tuple[float, float]]:
    """What those who came to thirty others were told, and how long they waited, in seconds."""
    told: dict[str, tuple[int, float]] = {}
    submitted = 0
    for step in range(150):
        await host.work_until(step * 4000 // host.slots)
        while submitted < min(len(costs), len(host.started_ms) + 30):
            id_ = f"j{submitted}"
            await queue.submit(job(id_, f"person{submitted % 5}", costs[submitted]))
            if submitted > 60:
                eta = (await look(time.scripts)).by_id[id_].eta_seconds
                assert eta is not None
                told[id_] = (host.now_ms, eta)
            submitted += 1
    return [(eta, (host.started_ms[id_] - at) / 1000) for id_, (at, eta) in told.items() if id_ in host.started_ms]


def check(estimates: Sequence[tuple[float, float]]) -> None:
    """Nearly all are within a factor of two; on the whole they are right."""
    ratios = sorted(eta / waited for eta, waited in estimates)
    assert len(ratios) >= 50
    within = [ratio for ratio in ratios if 0.5 <= ratio <= 2]
    assert len(within) / len(ratios) >= 0.95
    assert ratios[len(ratios) // 2] == pytest.approx(1, rel=0.25)


async def test_nothing_is_estimated_before_anything_is_known(time: VirtualTime, queue: JobQueue) -> None:
    await queue.submit(job("first", "ann"))
    await queue.submit(job("second", "ann"))
    snapshot = await look(time.scripts)
    assert [(waiting.id, waiting.position, waiting.eta_seconds) for waiting in snapshot.waiting] == [
        ("first", 1, None),
        ("second", 2, None),
    ]


@pytest.mark.parametrize("said", [0, 3])
@pytest.mark.parametrize("how", ["handed back", "passed on", "lost"])
async def test_a_job_that_ends_without_its_worker_is_charged_for_what_was_said(
    redis: Redis, time: VirtualTime, queue: JobQueue, how: str, said: int
) -> None:
    model = jobs_pb2.ModelSpec(id="m")
    await queue.submit(jobs_pb2.Job(id="j", tenant="ann", model=model, cost_tokens=8000, prompt_tokens=50))
    taken = await queue.take()
    assert taken is not None
    if said:
        await LogWriter(time.scripts, taken.lease).publish([b"said"] * said)
    if how == "lost":
        while await queue.lose_engine(taken) is ReleaseOutcome.RELEASED:
            taken = await queue.take()
            assert taken is not None
    else:
        await queue.cancel("j")
        await (queue.hand_back(taken) if how == "handed back" else queue.pass_on(taken, "here", "no room"))
    assert await redis.zscore(keys.virtual_times("2:m"), "t:ann") == (50 + said if said else 0)


@pytest.mark.parametrize("end", ["cancelled waiting", "cancelled in another try", "given up", "lost before the engine"])
async def test_a_job_that_an_engine_was_asked_costs_its_prompt_though_nothing_was_told_of_it(
    redis: Redis, time: VirtualTime, queue: JobQueue, end: str
) -> None:
    model = jobs_pb2.ModelSpec(id="m")
    await queue.submit(jobs_pb2.Job(id="j", tenant="ann", model=model, cost_tokens=8000, prompt_tokens=50))
    taken = await queue.take()
    assert taken is not None
    if end in ("given up", "lost before the engine"):
        for _ in range(3):
            if end == "lost before the engine":
                await tell_wait(time.scripts, taken.lease, Wait(WaitKind.LOADING))
            await queue.reclaim(StalledLease("j", f"{taken.lease.token}:0"))
            taken = await queue.take() or taken
    else:
        await queue.hand_back(taken, spent_tokens=57)
        again = await queue.take() if end == "cancelled in another try" else None
        await queue.cancel("j")
        if again is not None:  # before it has asked an engine itself
            await LogWriter(time.scripts, again.lease).publish([b"end"], ends=True, spent_tokens=0, is_whole=False)
    costs = {"given up": 50, "lost before the engine": 0}.get(end, 57)
    assert await redis.zscore(keys.virtual_times("2:m"), "t:ann") == costs


async def test_a_job_that_was_forgotten_costs_what_was_used_of_it(
    redis: Redis, time: VirtualTime, queue: JobQueue
) -> None:
    """Asked anew, it is charged again, for what is used then: not twice for all that it might have cost."""
    model = jobs_pb2.ModelSpec(id="m")
    asked = jobs_pb2.Job(id="j", tenant="ann", model=model, cost_tokens=8000, prompt_tokens=50)
    for used in (53, 110):
        await queue.submit(asked)
        taken = await queue.take()
        assert taken is not None
        writer = LogWriter(time.scripts, taken.lease)
        await writer.publish([b"said"] * 3)
        if used == 53:
            await redis.delete(keys.log("j"))
            assert not await queue.is_known("j")
        else:
            await writer.publish([b"end"], ends=True, spent_tokens=57)
        assert await redis.zscore(keys.virtual_times("2:m"), "t:ann") == used


async def test_what_ended_early_says_nothing_of_how_long_answers_take(
    redis: Redis, time: VirtualTime, queue: JobQueue
) -> None:
    await queue.submit(job("j", "ann"))
    taken = await queue.take()
    assert taken is not None
    await LogWriter(time.scripts, taken.lease).publish([b"end"], ends=True, spent_tokens=7, is_whole=False)
    assert await redis.zscore(keys.virtual_times("2:m"), "t:ann") == 7
    assert not await redis.exists(keys.pace("m"))

"""Jobs that lost whoever worked on them, beside others that did not."""

from __future__ import annotations

import pytest

import jan.queue.jobs
from jan import keys
from jan.queue.jobs import MAX_LOST_WORKERS
from jan.queue.leases import new_token
from jan.queue.records import dead_letters
from tests.inference_service.bench import Bench, demo, remote
from tests.inference_service.jobs.test_llamacpp_jobs import kill_engine
from tests.inference_service.scripted_engine import ScriptedEngine

ENDLESS = {"max_tokens": 1_000_000}


async def test_a_job_that_nobody_works_on_is_found_beside_one_with_the_same_token(
    bench: Bench, scripted: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lease is in hand here when the job and the token are."""
    scripted.hold(after_tokens=1)
    stray, in_hand = [await bench.submit(remote(scripted.url), ENDLESS) for _ in range(2)]
    tokens = iter(["same", "same"])
    monkeypatch.setattr(jan.queue.jobs, "new_token", lambda: next(tokens, None) or new_token())
    assert await bench.queue.take() is not None
    await bench.redis.delete(keys.taken("same"))
    async with bench.worker(lease_seconds=0.2):
        await bench.read(in_hand, chunks=1)
        await bench.read(stray, chunks=1)
        for job in (stray, in_hand):
            await bench.queue.cancel(job)
            assert (await bench.read(job)).end == "cancelled"


async def test_a_jobs_last_try_is_alone(bench: Bench, scripted: ScriptedEngine) -> None:
    """It waits for the end of what is in hand, nothing overtakes it, and nothing is taken beside it."""
    scripted.hold(after_tokens=1)
    suspect = await bench.submit(remote(scripted.url), ENDLESS)
    for _ in range(MAX_LOST_WORKERS - 1):
        taken = await bench.queue.take()
        assert taken is not None
        await bench.queue.lose_engine(taken)
    assert await bench.queue.take(models_in_hand=["remote"]) is None
    neighbours = [await bench.submit(remote(scripted.url), ENDLESS) for _ in range(2)]
    async with bench.worker():
        await bench.read(suspect, chunks=1)
        assert await bench.redis.zcard(keys.RUNNING) == 1
        await bench.queue.cancel(suspect)
        for job in neighbours:
            await bench.read(job, chunks=1)
        for job in neighbours:
            await bench.queue.cancel(job)
            assert (await bench.read(job)).end == "cancelled"


async def test_workers_that_stop_use_up_no_tries(bench: Bench, scripted: ScriptedEngine) -> None:
    job = await bench.submit(remote(scripted.url))
    for _ in range(MAX_LOST_WORKERS):
        taken = await bench.queue.take()
        assert taken is not None
        await bench.queue.hand_back(taken)
    scripted.hold()
    async with bench.worker():
        await scripted.until_active(1)
        scripted.crash()
        await scripted.until_requests(2)
        scripted.let_go()
        assert (await bench.read(job)).end == "completed"


@pytest.mark.engine
async def test_a_poison_job_does_not_take_its_neighbours_with_it(bench: Bench) -> None:
    """It kills its engine whenever it has said a few words more, three times; the others are answered."""
    spec = demo(n_parallel=3, ctx_len=3072)
    async with bench.worker() as worker:
        poison, *others = [
            await bench.submit(spec, {"max_tokens": tokens, "temperature": 0}, tenant=tenant)
            for tenant, tokens in (("mallory", 900), ("ann", 300), ("bob", 300))
        ]
        for _ in range(MAX_LOST_WORKERS):
            await bench.read(poison, chunks=int(await bench.redis.xlen(keys.log(poison))) + 3)
            kill_engine(worker)
        said = await bench.read(poison)
        assert (said.end, said.error.code) == ("failed", "poison")
        for job in others:
            assert (await bench.read(job)).end == "completed"
        assert await dead_letters(bench.redis) == [poison]

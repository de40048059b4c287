"""Jobs that lost whoever worked on them, beside others that did not."""

from __future__ import annotations

import pytest

import jan.queue.jobs
from jan import keys
from jan.queue.leases import new_token
from tests.inference_service.bench import Bench, remote
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

"""Jobs whose model's load fails: an engine that is killed by it is a loss; what the model brings about is not."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from inference_service.models import changes
from jan.errors import FailedPreconditionError, JanError, UnavailableError
from jan.queue.follower import LogFollower
from jan.queue.jobs import MAX_LOST_WORKERS
from jan.queue.records import dead_letters
from tests.inference_service.bench import Bench
from tests.inference_service.fake_engine import FakeMaker, spec

KILLED = UnavailableError("The engine was killed by SIGKILL while it was loading.", code="engine_crashed")


@pytest.fixture
async def loads(redis: Redis, maker: FakeMaker, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    """A bench whose models load as the test says, without a pause between two tries."""
    monkeypatch.setattr(changes, "_FIRST_BACKOFF_SECONDS", 0.0)
    follower = LogFollower(redis)
    async with follower.running():
        yield Bench(redis, follower, maker)


async def test_a_job_whose_load_kills_its_engine_three_times_is_a_dead_letter(loads: Bench, maker: FakeMaker) -> None:
    maker.error = KILLED
    async with loads.worker():
        said = await loads.ask(spec())
        assert (said.end, said.error.code) == ("failed", "poison")
        assert said.error.message.endswith("The last time: The engine was killed by SIGKILL while it was loading.")
        assert maker.starts == ["a"] * MAX_LOST_WORKERS
        assert await dead_letters(loads.redis) != []


@pytest.mark.parametrize(
    "error",
    [
        UnavailableError("There is not enough memory.", code="engine_start_failed"),
        FailedPreconditionError("The setting ngl is no number.", code="model_settings_invalid"),
        FailedPreconditionError("A file is missing.", code="model_file_missing"),
        FailedPreconditionError("This architecture is not known.", code="model_unsupported"),
    ],
)
async def test_a_load_that_the_model_fails_ends_its_job_at_once(
    loads: Bench, maker: FakeMaker, error: JanError
) -> None:
    maker.error = error
    async with loads.worker():
        said = await loads.ask(spec())
        assert (said.end, said.error.code, said.error.message) == ("failed", error.code, error.message)
        assert maker.starts == ["a"]
        assert await dead_letters(loads.redis) == []

"""What an engine that sleeps promises. Subclasses provide the fixtures `engine` (not started) and `sleeper`."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from inference_service.engines.client import EngineClient
from inference_service.engines.engine import Engine, Sleeper
from jan.errors import UnavailableError
from tests.inference_service.engines.asking import MESSAGES, whole

REQUEST = {"messages": MESSAGES, "max_tokens": 4, "temperature": 0}


class SleepContract:
    @pytest.fixture
    async def client(self, engine: Engine) -> AsyncIterator[EngineClient]:
        async with EngineClient(await engine.start()) as client:
            yield client
        await engine.stop()

    async def test_answers_after_its_sleep_as_before(
        self, engine: Engine, client: EngineClient, sleeper: Sleeper
    ) -> None:
        before = await whole(engine, client, REQUEST)
        for _ in range(2):
            await sleeper.sleep(client)
            assert await client.get_json("/is_sleeping") == {"is_sleeping": True}
            await sleeper.wake(client)
        assert (await whole(engine, client, REQUEST))["choices"] == before["choices"]

    async def test_one_that_cannot_be_asked_is_told(
        self, engine: Engine, client: EngineClient, sleeper: Sleeper
    ) -> None:
        await client.close()
        with pytest.raises(UnavailableError):
            await sleeper.sleep(client)
        with pytest.raises(UnavailableError):
            await sleeper.wake(client)

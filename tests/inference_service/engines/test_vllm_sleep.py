"""How vLLM is sent to sleep, with a server that speaks its routes: vLLM itself sleeps on GPUs only."""

from __future__ import annotations

from datetime import timedelta

import pytest

from inference_service.engines.client import EngineClient
from inference_service.engines.engine import Connection
from inference_service.engines.openai import OpenAiEngine
from inference_service.engines.vllm_sleep import VllmSleep
from jan.errors import UnavailableError
from jan.inference.v1.jobs_pb2 import ModelSpec
from tests.inference_service.engines.sleep_contract import SleepContract
from tests.inference_service.scripted_engine import ScriptedEngine

SLEEP = VllmSleep(timedelta(seconds=30))


class TestVllmSleep(SleepContract):
    @pytest.fixture
    def engine(self, scripted: ScriptedEngine) -> OpenAiEngine:
        return OpenAiEngine(ModelSpec(id="remote", engine="openai", source_url=scripted.url))

    @pytest.fixture
    def sleeper(self) -> VllmSleep:
        return SLEEP


async def test_a_server_that_refuses_or_does_nothing_is_told(scripted: ScriptedEngine) -> None:
    async with EngineClient(Connection(scripted.url)) as client:
        scripted.command_status = 500
        with pytest.raises(UnavailableError, match="500"):
            await SLEEP.sleep(client)
        scripted.command_status, scripted.deaf = 200, True
        with pytest.raises(UnavailableError, match="did not fall asleep"):
            await SLEEP.sleep(client)
        scripted.sleeping = True
        with pytest.raises(UnavailableError, match="did not wake"):
            await SLEEP.wake(client)


async def test_one_that_takes_for_ever_is_given_up(scripted: ScriptedEngine) -> None:
    async with EngineClient(Connection("http://127.0.0.1:9/v1")) as client:
        with pytest.raises(UnavailableError):
            await VllmSleep(timedelta(milliseconds=1)).sleep(client)

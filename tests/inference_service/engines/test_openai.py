from __future__ import annotations

import pytest

from inference_service.engines.client import EngineClient
from inference_service.engines.openai import OpenAiEngine
from jan.errors import FailedPreconditionError
from jan.inference.v1.jobs_pb2 import ModelSpec
from tests.inference_service.engines.continuation_contract import ContinuationContract
from tests.inference_service.engines.contract import EngineContract
from tests.inference_service.engines.embedding_contract import EmbeddingContract
from tests.inference_service.engines.traits import BusySlots, Trait
from tests.inference_service.scripted_engine import DIMENSIONS, ScriptedEngine


class TestOpenAi(EngineContract):
    traits = frozenset({Trait.TELLS_NO_TOKENS, Trait.HANDS_SCHEMAS_ON})

    @pytest.fixture
    def engine(self, scripted: ScriptedEngine) -> OpenAiEngine:
        spec = ModelSpec(id="remote", engine="openai", source_url=scripted.url, settings_json='{"model": "inner"}')
        return OpenAiEngine(spec)

    @pytest.fixture
    def busy_slots(self, scripted: ScriptedEngine) -> BusySlots:
        async def busy(client: EngineClient) -> int:
            await client.is_healthy()
            return scripted.active

        return busy

    async def test_asks_under_the_remote_name(
        self, scripted: ScriptedEngine, engine: OpenAiEngine, client: EngineClient
    ) -> None:
        call = engine.chat_call({"model": "remote", "messages": [], "max_tokens": 1})
        async with client.chat(call.body):
            pass
        assert scripted.requests[0]["model"] == "inner"


def test_a_server_that_nobody_vouches_for_goes_on_with_nothing() -> None:
    """OpenAI's own API would take the begun answer for history, and answer anew."""
    assert not OpenAiEngine(ModelSpec(id="remote", engine="openai", source_url="http://host/v1")).continues("")


class TestOpenAiThatGoesOn(ContinuationContract):
    @pytest.fixture
    def engine(self, scripted: ScriptedEngine) -> OpenAiEngine:
        settings = '{"continue_final_message": true}'
        return OpenAiEngine(ModelSpec(id="remote", engine="openai", source_url=scripted.url, settings_json=settings))


class TestOpenAiEmbeddings(EmbeddingContract):
    shortens = True

    @pytest.fixture
    def engine(self, scripted: ScriptedEngine) -> OpenAiEngine:
        return OpenAiEngine(ModelSpec(id="remote", engine="openai", source_url=scripted.url))

    @pytest.fixture
    def native(self) -> int:
        return DIMENSIONS


@pytest.mark.parametrize("url", ["", "ftp://host/v1", "http://", "/v1"])
def test_refuses_a_source_that_is_no_http_url(url: str) -> None:
    with pytest.raises(FailedPreconditionError):
        OpenAiEngine(ModelSpec(id="remote", engine="openai", source_url=url))

"""What every engine promises of embeddings. Subclasses provide `engine` (not started) and `native`: its dimensions."""

from __future__ import annotations

import json
import struct
from base64 import b64decode
from collections.abc import AsyncIterator
from typing import Any, ClassVar

import pytest

from inference_service.answers.embeddings import EmbeddingList
from inference_service.engines.client import EngineClient
from inference_service.engines.engine import Engine
from jan.errors import InvalidArgumentError


class EmbeddingContract:
    shortens: ClassVar[bool] = False

    @pytest.fixture
    async def client(self, engine: Engine) -> AsyncIterator[EngineClient]:
        async with EngineClient(await engine.start()) as client:
            yield client
        await engine.stop()

    async def test_texts_are_vectors_of_length_one(self, engine: Engine, client: EngineClient, native: int) -> None:
        answer = await embedded(engine, client, ["a river", "a town"])
        assert set(answer) == {"object", "data", "model", "usage"}
        assert [one["index"] for one in answer["data"]] == [0, 1]
        assert {one["object"] for one in answer["data"]} == {"embedding"}
        for one in answer["data"]:
            assert len(one["embedding"]) == native
            assert sum(x * x for x in one["embedding"]) == pytest.approx(1, abs=1e-3)
        assert answer["data"][0]["embedding"] != answer["data"][1]["embedding"]
        assert answer["model"] == "model-1"
        assert answer["usage"]["total_tokens"] == answer["usage"]["prompt_tokens"] > 1

    async def test_base64_is_the_same_vector(self, engine: Engine, client: EngineClient) -> None:
        floats = vectors_of(await embedded(engine, client, ["a river"]))
        (data,) = (await embedded(engine, client, ["a river"], encoding_format="base64"))["data"]
        assert isinstance(data["embedding"], str)
        raw = b64decode(data["embedding"], validate=True)
        assert list(struct.unpack(f"<{len(raw) // 4}f", raw)) == pytest.approx(floats[0], abs=1e-4)

    async def test_many_inputs_keep_their_order(self, engine: Engine, client: EngineClient) -> None:
        inputs = [f"{word} {number}" for word in ("a river", "a town") for number in range(20)]
        answer = await embedded(engine, client, inputs)
        assert [one["index"] for one in answer["data"]] == list(range(40))
        for place in (0, 31, 32, 39):
            alone = vectors_of(await embedded(engine, client, [inputs[place]]))[0]
            assert vectors_of(answer)[place] == pytest.approx(alone, abs=2e-2)

    async def test_tokens_are_read(self, engine: Engine, client: EngineClient, native: int) -> None:
        answer = await embedded(engine, client, [[81, 4626], [81]])
        assert [len(vector) for vector in vectors_of(answer)] == [native, native]
        assert answer["usage"]["prompt_tokens"] >= 3

    async def test_dimensions_are_kept_or_refused_by_name(self, engine: Engine, client: EngineClient) -> None:
        if self.shortens:
            assert len(vectors_of(await embedded(engine, client, ["a river"], dimensions=2))[0]) == 2
            return
        with pytest.raises(InvalidArgumentError) as caught:
            await embedded(engine, client, ["a river"], dimensions=2)
        assert caught.value.param == "dimensions"

    async def test_an_input_that_is_too_long_is_refused(self, engine: Engine, client: EngineClient) -> None:
        with pytest.raises(InvalidArgumentError) as caught:
            await embedded(engine, client, ["short", "word " * 5000])
        assert (caught.value.code, caught.value.param) == ("context_length_exceeded", "input")
        assert "maximum context length is 10" in caught.value.message  # 1000 or 1024 tokens

    async def test_other_fields_stay_here(self, engine: Engine) -> None:
        (body,) = engine.embed_call({"input": ["x"], "user": "ann", "truncate_prompt_tokens": 1}).bodies
        assert not {"user", "truncate_prompt_tokens"} & set(body)


async def embedded(engine: Engine, client: EngineClient, inputs: list[Any], **fields: Any) -> dict[str, Any]:
    request = {"input": inputs, **fields}
    gathered = EmbeddingList("model-1", request)
    for body in engine.embed_call(request).bodies:
        gathered.feed(await client.embed(body), len(body["input"]))
    answer: dict[str, Any] = json.loads(gathered.end())
    return answer


def vectors_of(answer: dict[str, Any]) -> list[list[float]]:
    return [one["embedding"] for one in answer["data"]]

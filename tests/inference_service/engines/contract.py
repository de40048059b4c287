"""What every engine promises. Subclasses provide the fixtures `engine` (not started) and `busy_slots`."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import pytest

from inference_service.chunks import ChunkStream
from inference_service.engines.client import EngineClient
from inference_service.engines.engine import Engine
from inference_service.shapes import AnswerHead, AnswerWishes
from inference_service.sse import DONE, EventReader
from inference_service.whole import WholeAnswer, rewrite_whole
from jan.errors import InvalidArgumentError

HEAD = AnswerHead("chatcmpl-1", 1_700_000_000, "model-1")
MESSAGES = [{"role": "user", "content": "Tell a long story of a river and its town."}]


BusySlots = Callable[[EngineClient], Awaitable[int]]


class EngineContract:
    @pytest.fixture
    async def client(self, engine: Engine) -> AsyncIterator[EngineClient]:
        connection = await engine.start()
        async with EngineClient(connection) as client:
            yield client
        await engine.stop()

    async def test_streams_openai_chunks(self, engine: Engine, client: EngineClient) -> None:
        request = {
            "messages": MESSAGES,
            "max_tokens": 6,
            "temperature": 0,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        chunks = await streamed(engine, client, request)
        assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
        assert chunks[-2]["choices"][0] == {"index": 0, "delta": {}, "logprobs": None, "finish_reason": "length"}
        assert chunks[-1]["choices"] == []
        assert chunks[-1]["usage"]["completion_tokens"] == 6
        assert "".join(c["choices"][0]["delta"]["content"] for c in chunks[:-2])
        assert all(set(c) == {"id", "object", "created", "model", "choices", "usage"} for c in chunks)
        assert all(c["usage"] is None for c in chunks[:-1])

    async def test_answers_whole(self, engine: Engine, client: EngineClient) -> None:
        answer = await whole(engine, client, {"messages": MESSAGES, "max_tokens": 4, "temperature": 0})
        assert answer["choices"][0]["finish_reason"] == "length"
        assert answer["choices"][0]["message"]["content"]
        assert answer["choices"][0]["message"]["refusal"] is None
        assert answer["usage"]["completion_tokens"] == 4
        assert answer["model"] == "model-1"

    async def test_answers_several_choices(self, engine: Engine, client: EngineClient) -> None:
        request = {"messages": MESSAGES, "max_tokens": 3, "temperature": 0, "n": 2, "stream": True}
        chunks = await streamed(engine, client, request)
        for index in (0, 1):
            choices = [c for chunk in chunks for c in chunk["choices"] if c["index"] == index]
            assert choices[0]["delta"]["role"] == "assistant"
            assert [c["finish_reason"] for c in choices].count("length") == 1
            assert choices[-1]["finish_reason"] == "length"

    async def test_leaving_frees_the_slot(self, engine: Engine, client: EngineClient, busy_slots: BusySlots) -> None:
        call = engine.chat_call({"messages": MESSAGES, "max_tokens": 2000, "stream": True})
        async with client.chat(call.body) as content:
            await content.readany()
            assert await busy_slots(client) == 1
        while await busy_slots(client):
            pass

    async def test_tells_when_the_prompt_is_too_long(self, engine: Engine, client: EngineClient) -> None:
        call = engine.chat_call({"messages": [{"role": "user", "content": "word " * 5000}], "stream": True})
        with pytest.raises(InvalidArgumentError) as caught:
            async with client.chat(call.body):
                pass
        assert caught.value.code == "context_length_exceeded"

    async def test_passes_on_only_known_fields(self, engine: Engine) -> None:
        strange = {"chat_template": "x", "prompt_embeds": "x", "grammar": "x", "n_discard": 1, "user": "ann"}
        call = engine.chat_call({"messages": MESSAGES, "temperature": None, **strange})
        assert not set(strange) & set(call.body)
        assert "temperature" not in call.body

    async def test_starts_again_after_a_stop(self, engine: Engine) -> None:
        await engine.start()
        await engine.stop()
        await engine.stop()
        async with EngineClient(await engine.start()) as client:
            assert await whole(engine, client, {"messages": MESSAGES, "max_tokens": 1})
        await engine.stop()


async def streamed(engine: Engine, client: EngineClient, request: Mapping[str, Any]) -> list[dict[str, Any]]:
    answer = ChunkStream(HEAD, AnswerWishes.of(request))
    said: list[bytes] = []
    async with client.chat(engine.chat_call(request).body) as content:
        async for chunk in engine_chunks(content):
            said += answer.feed(chunk)
    assert answer.complete
    return [json.loads(chunk) for chunk in said + answer.end()]


async def whole(engine: Engine, client: EngineClient, request: Mapping[str, Any]) -> dict[str, Any]:
    call = engine.chat_call(request)
    wishes = AnswerWishes.of(request)
    async with client.chat(call.body) as content:
        if not call.streams:
            data, _, _ = rewrite_whole(json.loads(await content.read()), HEAD, wishes)
        else:
            gathered = WholeAnswer(HEAD, wishes)
            async for chunk in engine_chunks(content):
                gathered.feed(chunk)
            (data,) = gathered.end()
    answer: dict[str, Any] = json.loads(data)
    return answer


async def engine_chunks(content: Any) -> AsyncIterator[dict[str, Any]]:
    reader = EventReader()
    async for piece in content.iter_any():
        for data in reader.feed(piece):
            if data != DONE:
                yield json.loads(data)

"""What an engine promises that goes on with a begun answer. Subclasses provide `engine` (not started)."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from inference_service.answers.answer import Answer
from inference_service.answers.chunks import ChunkStream
from inference_service.answers.completions import CompletionStream, CompletionWishes
from inference_service.answers.continuation import Begun
from inference_service.answers.shapes import AnswerWishes
from inference_service.answers.tokens import TokenQuestion
from inference_service.engines.client import EngineClient
from inference_service.engines.engine import Engine
from tests.inference_service.engines.asking import HEAD, MESSAGES, completed_in_chunks, engine_chunks, streamed


class ContinuationContract:
    @pytest.fixture
    async def client(self, engine: Engine) -> AsyncIterator[EngineClient]:
        connection = await engine.start()
        async with EngineClient(connection) as client:
            yield client
        await engine.stop()

    @pytest.mark.parametrize("place", [1, 6, 11, 12])
    async def test_goes_on_with_a_begun_answer(self, engine: Engine, client: EngineClient, place: int) -> None:
        usage = {"include_usage": True}
        request = {"messages": MESSAGES, "max_tokens": 12, "temperature": 0, "stream": True, "stream_options": usage}
        chunks = await streamed(engine, client, request)
        pieces = [piece for chunk in chunks for choice in chunk["choices"] if (piece := choice["delta"].get("content"))]
        begun = await begin(engine, client, "".join(pieces[:place]))
        assert place <= begun.tokens <= 12  # under load vLLM puts several tokens into a piece
        answer = ChunkStream(HEAD, AnswerWishes.of(request), begun=True)
        call = engine.chat_call(begun.request(request))
        rest = await read(call.body, begun.read_by(call.read_by(answer), request), client.chat)
        deltas = [choice["delta"] for chunk in rest for choice in chunk["choices"]]
        assert "".join(delta.get("content", "") for delta in deltas) == "".join(pieces[place:])
        assert all("role" not in delta for delta in deltas)
        assert (answer.finish_reason, rest[-1]["usage"]) == ("length", without_cache(chunks[-1]["usage"], rest))

    async def test_goes_on_behind_what_the_client_wrote(self, engine: Engine, client: EngineClient) -> None:
        usage = {"include_usage": True}
        request = {"messages": MESSAGES, "max_tokens": 12, "temperature": 0, "stream": True, "stream_options": usage}
        chunks = await streamed(engine, client, request)
        pieces = [piece for chunk in chunks for choice in chunk["choices"] if (piece := choice["delta"].get("content"))]
        written = await begin(engine, client, "".join(pieces[:4]))
        for said in (0, 2):  # by nobody, or by a worker that was lost
            told = await begin(engine, client, "".join(pieces[4 : 4 + said])) if said else Begun("", 0)
            begun = Begun(told.text, told.tokens, prefill=written.text)
            limited = {**request, "max_tokens": 12 - written.tokens}
            answer = ChunkStream(HEAD, AnswerWishes.of(limited), begun=bool(said))
            call = engine.chat_call(begun.request(limited))
            rest = await read(call.body, begun.read_by(call.read_by(answer), limited), client.chat)
            deltas = [choice["delta"] for chunk in rest for choice in chunk["choices"]]
            assert "".join(delta.get("content", "") for delta in deltas) == "".join(pieces[4 + said :])
            assert rest[-1]["usage"]["completion_tokens"] == 12 - written.tokens

    @pytest.mark.parametrize("place", [1, 6])
    @pytest.mark.parametrize("echo", [False, True])
    async def test_goes_on_with_a_begun_text(
        self, engine: Engine, client: EngineClient, place: int, echo: bool
    ) -> None:
        request = {
            "prompt": ["One, two,"],
            "max_tokens": 6,
            "temperature": 0,
            "stream": True,
            "stream_options": {"include_usage": True},
            "echo": echo,
        }
        chunks = await completed_in_chunks(engine, client, {**request, "echo": False})
        pieces = [piece for chunk in chunks for choice in chunk["choices"] if (piece := choice["text"])]
        begun = await begin(engine, client, "".join(pieces[:place]))
        call = engine.completion_call(begun.request(request))
        answer = CompletionStream(HEAD, CompletionWishes.of(request, call.echo), begun=True)
        rest = await read(call.body, begun.read_by(answer, request), client.complete)
        assert "".join(choice["text"] for chunk in rest for choice in chunk["choices"]) == "".join(pieces[place:])
        assert (answer.finish_reason, rest[-1]["usage"]) == ("length", without_cache(chunks[-1]["usage"], rest))


async def begin(engine: Engine, client: EngineClient, said: str) -> Begun:
    """What the worker makes of the text that was said."""
    assert engine.continues(said)
    tokens = await engine.tokenize(client, TokenQuestion(said, add_special=False))
    return Begun(said, len(tokens.ids))


async def read(
    body: Mapping[str, Any],
    answer: Answer,
    ask: Callable[[Mapping[str, Any]], AbstractAsyncContextManager[Any]],
) -> list[dict[str, Any]]:
    """Everything that `answer` says to the engine's answer to `body`."""
    said: list[bytes] = []
    async with ask(body) as content:
        async for chunk in engine_chunks(content):
            said += answer.feed(chunk)
    assert answer.complete
    return [json.loads(chunk) for chunk in said + answer.end()]


def without_cache(usage: dict[str, Any], rest: list[dict[str, Any]]) -> dict[str, Any]:
    """The usage that is expected: what was remembered of a prompt is another matter the second time."""
    details = "prompt_tokens_details"
    return {**usage, details: rest[-1]["usage"][details]} if details in usage else usage

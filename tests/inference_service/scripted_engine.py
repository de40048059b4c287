"""An OpenAI-compatible server whose words and timing belong to the test: token i is `token(i)`.

It answers in engines' worse manners on purpose: the role in every chunk, no `usage: null`, keys of its own. What a
request asks beyond words (a schema, a call, log probabilities) it obeys to the letter: `scripted_words.py`.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from tests.inference_service.scripted_words import (
    completion_choice,
    function_of,
    logprobs_of,
    pieces_of,
    prompts_of,
    reason_of,
    said_before,
    tokens_of,
)

MAX_PROMPT_WORDS = 1000
TOO_LONG = f"This model's maximum context length is {MAX_PROMPT_WORDS} tokens."
DIMENSIONS = 8
PROMPT_TOKENS = 7
STREAM = web.RequestKey("stream", web.StreamResponse)


CORE_DIED = {
    "error": {
        "message": "EngineCore encountered an issue. See stack trace (above) for the root cause.",
        "type": "InternalServerError",
        "param": None,
        "code": 500,
    }
}
"""What vLLM 0.32 answers, or says in the middle of a stream, when its core or a worker was killed."""


class CoreDiedError(Exception):
    """Its server lives, and says so."""


class ScriptedEngine:
    """The server and its levers: `hold` and `let_go` stop and start the tokens, `crash` breaks every connection."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.active = 0
        self.url = ""
        self._free = asyncio.Event()
        self._free.set()
        self._changed = asyncio.Condition()
        self._transports: set[asyncio.BaseTransport] = set()
        self.free_tokens = 0
        self._dying = 0
        self.sleeping = False
        self.deaf = False
        """Whether commands to sleep and wake are answered, and nothing more."""
        self.command_status = 200

    def hold(self, after_tokens: int = 0) -> None:
        """Say no token beyond the first `after_tokens` of each answer until `let_go`."""
        self.free_tokens = after_tokens
        self._free.clear()

    def let_go(self) -> None:
        self._free.set()

    def crash(self) -> None:
        for transport in self._transports:
            if isinstance(transport, asyncio.Transport):
                transport.abort()

    def lose_core(self, answers: int = 1) -> None:
        """The next `answers` that are to say a word end as vLLM's do when its core has died."""
        self._dying = answers
        self._free.set()

    async def until_active(self, count: int) -> None:
        """Wait until exactly `count` answers are being written."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.active == count)

    async def until_requests(self, count: int) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: len(self.requests) >= count)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[ScriptedEngine]:
        app = web.Application(client_max_size=2**26)
        app.router.add_post("/v1/chat/completions", self._answer)
        app.router.add_post("/v1/completions", self._complete)
        app.router.add_post("/v1/embeddings", self._embed)
        app.router.add_post("/tokenize", self._tokenize)
        app.router.add_post("/sleep", self._sleep)
        app.router.add_post("/wake_up", self._wake)
        app.router.add_get("/is_sleeping", self._is_sleeping)
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        try:
            yield self
        finally:
            self.let_go()
            await runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        if self.sleeping:
            return web.json_response({"error": {"message": "asleep"}}, status=500)
        body = await request.json()
        words = sum(len(str(message.get("content")).split()) for message in body["messages"])
        if words > MAX_PROMPT_WORDS:
            return web.json_response({"error": {"message": TOO_LONG, "code": 400}}, status=400)
        assert request.transport is not None
        self._transports.add(request.transport)
        await self._note(body, +1)
        try:
            return await (self._stream(request, body) if body.get("stream") else self._whole(body))
        except CoreDiedError:
            return await self._say_dead(request)
        finally:
            self._transports.discard(request.transport)
            await self._note(None, -1)

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        """Text completions, streamed choice by choice."""
        body = await request.json()
        prompts = prompts_of(body)
        if any(isinstance(prompt, str) and len(prompt.split()) > MAX_PROMPT_WORDS for prompt in prompts):
            return web.json_response({"error": {"message": TOO_LONG, "code": 400}}, status=400)
        assert request.transport is not None
        self._transports.add(request.transport)
        await self._note(body, +1)
        try:
            choices = range(len(prompts) * body.get("n", 1))
            if body.get("stream"):
                return await self._stream_completion(request, body, choices)
            said = [piece async for piece in self._pieces(body)]
            whole = [completion_choice(body, index, said, ends=True) for index in choices]
            return web.json_response({"choices": whole, "usage": usage(body, len(said) * len(choices))})
        except CoreDiedError:
            return await self._say_dead(request)
        finally:
            self._transports.discard(request.transport)
            await self._note(None, -1)

    async def _stream_completion(
        self, request: web.Request, body: dict[str, Any], choices: range
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        request[STREAM] = response
        count = 0
        for index in choices:
            count = 0
            async for piece in self._pieces(body):
                await self._send(response, [completion_choice(body, index, [piece], after=count)])
                count += 1
            rest = completion_choice(body, index, [], after=count)["text"]  # the prompt, when nothing follows it
            await self._send(response, [{"index": index, "text": rest, "finish_reason": reason_of(body)}])
        await self._send(response, [], usage=usage(body, count * len(choices)))
        await response.write(b"data: [DONE]\n\n")
        return response

    async def _embed(self, request: web.Request) -> web.Response:
        """Vectors as numbers whatever was asked for, the last one first."""
        body = await request.json()
        assert request.transport is not None
        self._transports.add(request.transport)
        await self._note(body, 0)
        await self._free.wait()
        self._transports.discard(request.transport)
        if any(isinstance(one, str) and len(one.split()) > MAX_PROMPT_WORDS for one in body["input"]):
            return web.json_response({"error": {"message": TOO_LONG, "code": 400}}, status=400)
        vectors = [vector_of(one)[: body.get("dimensions", DIMENSIONS)] for one in body["input"]]
        data = [{"index": index, "embedding": vector} for index, vector in enumerate(vectors)]
        tokens = 2 * len(vectors)
        return web.json_response({"data": data[::-1], "usage": {"prompt_tokens": tokens, "total_tokens": tokens}})

    async def _tokenize(self, request: web.Request) -> web.Response:
        return web.json_response({"tokens": tokens_of((await request.json())["prompt"])})

    async def _sleep(self, request: web.Request) -> web.Response:
        """As vLLM's development routes do, level 1 alone."""
        assert dict(request.query) == {"level": "1"}
        return self._turn(sleeps=True)

    async def _wake(self, request: web.Request) -> web.Response:
        return self._turn(sleeps=False)

    def _turn(self, *, sleeps: bool) -> web.Response:
        if self.command_status == 200 and not self.deaf:
            self.sleeping = sleeps
        return web.json_response({"status": "sleeping" if sleeps else "awake"}, status=self.command_status)

    async def _is_sleeping(self, request: web.Request) -> web.Response:
        return web.json_response({"is_sleeping": self.sleeping})

    async def _note(self, body: dict[str, Any] | None, change: int) -> None:
        async with self._changed:
            self.active += change
            if body is not None:
                self.requests.append(body)
            self._changed.notify_all()

    async def _pieces(self, body: dict[str, Any]) -> AsyncIterator[str]:
        for index, piece in enumerate(pieces_of(body), said_before(body)):
            if index >= self.free_tokens:
                await self._free.wait()
            if self._dying:
                self._dying -= 1
                raise CoreDiedError
            await asyncio.sleep(0)
            yield piece

    @staticmethod
    async def _say_dead(request: web.Request) -> web.StreamResponse:
        response: web.StreamResponse | None = request.get(STREAM)
        if response is None:
            return web.json_response(CORE_DIED, status=500)
        await response.write(b"data: %b\n\ndata: [DONE]\n\n" % json.dumps(CORE_DIED).encode())
        return response

    async def _whole(self, body: dict[str, Any]) -> web.Response:
        said = [piece async for piece in self._pieces(body)]
        called = function_of(body)
        message: dict[str, Any] = {"role": "assistant", "content": None if called else "".join(said)}
        if called:
            function = {"name": called, "arguments": "".join(said)}
            message["tool_calls"] = [{"id": "call_1", "type": "function", "function": function}]
        choice = {"message": message, "logprobs": logprobs_of(body, said), "finish_reason": reason_of(body)}
        choices = [{"index": index, **choice} for index in range(body.get("n", 1))]
        return web.json_response({"id": "x", "choices": choices, "usage": usage(body, len(said))})

    async def _stream(self, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        request[STREAM] = response
        count = 0
        indexes = range(body.get("n", 1))
        called = function_of(body)
        if called:
            named = {"index": 0, "id": "call_1", "type": "function", "function": {"name": called, "arguments": ""}}
            for index in indexes:
                await self._send(response, [{"index": index, "delta": {"role": "assistant", "tool_calls": [named]}}])
        async for piece in self._pieces(body):
            count += 1
            said = {"tool_calls": [{"index": 0, "function": {"arguments": piece}}]} if called else {"content": piece}
            choice = {"delta": {"role": "assistant", **said}, "logprobs": logprobs_of(body, [piece])}
            for index in indexes:
                await self._send(response, [{"index": index, **choice, "finish_reason": None}])
        for index in indexes:
            await self._send(response, [{"index": index, "delta": {}, "finish_reason": reason_of(body)}])
        if (body.get("stream_options") or {}).get("include_usage"):
            await self._send(response, [], usage=usage(body, count * len(indexes)))
        await response.write(b"data: [DONE]\n\n")
        return response

    async def _send(self, response: web.StreamResponse, choices: list[dict[str, Any]], **extra: Any) -> None:
        chunk = {"id": "engine-1", "created": 1, "model": "inner", "choices": choices, "timings": {}, **extra}
        await response.write(f"data: {json.dumps(chunk)}\n\n".encode())


def vector_of(text: object) -> list[float]:
    """A vector of length one that belongs to this text alone."""
    digest = hashlib.sha256(repr(text).encode()).digest()[:DIMENSIONS]
    length = math.sqrt(sum(byte * byte for byte in digest))
    return [byte / length for byte in digest]


def usage(body: dict[str, Any], completion_tokens: int) -> dict[str, int]:
    prompt_tokens = PROMPT_TOKENS + said_before(body)
    total_tokens = prompt_tokens + completion_tokens
    return {"prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens, "total_tokens": total_tokens}

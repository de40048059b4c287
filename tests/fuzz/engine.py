"""An engine that answers whatever it is asked, at once and in OpenAI's form; and files that may be downloaded."""

from __future__ import annotations

import asyncio
import base64
import json
from array import array
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from tests.fixtures.assistant_zips import folder, zipped
from tests.fixtures.model_host import ModelHost
from tests.fixtures.tiny_models import tiny_gguf

Json = dict[str, Any]
SILENT = "/silent"
"""The address of an engine that never says a word."""
WEIGHTS = "/files/weights.gguf"
STALLS = "/files/stalls.gguf"
"""Weights that do not come to their end."""
ASSISTANT = "/files/assistant.zip"
USAGE: Json = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
WORDS = ("Hello", " there")


@asynccontextmanager
async def patient_engine() -> AsyncIterator[str]:
    """Listen until the block is left; the address, where `/v1` is the URL that a model names as its source."""
    app = web.Application(client_max_size=1 << 26)
    app.router.add_post("/v1/chat/completions", _chat)
    app.router.add_post("/v1/completions", _complete)
    app.router.add_post("/v1/embeddings", _embed)
    app.router.add_route("*", SILENT + "/{path:.*}", _never)
    app.router.add_get("/files/{name}", _files().answer)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def _files() -> ModelHost:
    host = ModelHost()
    host.add(WEIGHTS, tiny_gguf(128))
    host.add(STALLS, tiny_gguf(1 << 20), hold_after=1 << 19)
    host.add(ASSISTANT, zipped(folder()))
    return host


async def _never(_: web.Request) -> web.StreamResponse:
    await asyncio.Event().wait()
    raise AssertionError("nobody sets it")


async def _chat(request: web.Request) -> web.StreamResponse:
    asked = await request.json()
    choices = range(asked.get("n") or 1)
    if asked.get("tool_choice") == "required":
        return await _call(request, asked)
    if not asked.get("stream"):
        message = {"role": "assistant", "content": "".join(WORDS), "refusal": None}
        ended = [_choice(index, "stop", message=message) for index in choices]
        return web.json_response(_head("chat.completion", asked) | {"choices": ended, "usage": USAGE})
    chunks = [[_choice(index, None, delta={"role": "assistant", "content": ""}) for index in choices]]
    chunks += [[_choice(index, None, delta={"content": word}) for index in choices] for word in WORDS]
    chunks += [[_choice(index, "stop", delta={}) for index in choices]]
    return await _stream(request, "chat.completion.chunk", asked, chunks)


async def _call(request: web.Request, asked: Json) -> web.StreamResponse:
    """Call the first function, in a stream."""
    function = {"name": asked["tools"][0]["function"]["name"], "arguments": "{}"}
    called = {"index": 0, "id": "call_1", "type": "function", "function": function}
    chunks = [[_choice(0, None, delta={"role": "assistant", "content": None, "tool_calls": [called]})]]
    return await _stream(request, "chat.completion.chunk", asked, [*chunks, [_choice(0, "tool_calls", delta={})]])


async def _complete(request: web.Request) -> web.StreamResponse:
    asked = await request.json()
    prompts = asked["prompt"] if isinstance(asked["prompt"], list) else [asked["prompt"]]
    choices = range((asked.get("n") or 1) * len(prompts))
    if not asked.get("stream"):
        ended = [_choice(index, "stop", text="".join(WORDS)) for index in choices]
        return web.json_response(_head("text_completion", asked) | {"choices": ended, "usage": USAGE})
    chunks = [[_choice(index, None, text=word) for index in choices] for word in WORDS]
    chunks += [[_choice(index, "stop", text="") for index in choices]]
    return await _stream(request, "text_completion", asked, chunks)


async def _embed(request: web.Request) -> web.Response:
    asked = await request.json()
    inputs = asked["input"] if isinstance(asked["input"], list) else [asked["input"]]
    vector = [0.5] * (asked.get("dimensions") or 4)
    told: Any = vector
    if asked.get("encoding_format") == "base64":
        told = base64.b64encode(array("f", vector).tobytes()).decode()
    data = [{"object": "embedding", "index": index, "embedding": told} for index in range(len(inputs))]
    usage = {"prompt_tokens": 3, "total_tokens": 3}
    return web.json_response({"object": "list", "data": data, "model": asked["model"], "usage": usage})


def _head(kind: str, asked: Json) -> Json:
    return {"id": "chatcmpl-1", "object": kind, "created": 1, "model": asked["model"]}


def _choice(index: int, finish_reason: str | None, **said: Any) -> Json:
    return {"index": index, "logprobs": None, "finish_reason": finish_reason, **said}


async def _stream(request: web.Request, kind: str, asked: Json, chunks: list[list[Json]]) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    for choices in chunks:
        await response.write(b"data: %s\n\n" % json.dumps(_head(kind, asked) | {"choices": choices}).encode())
    last = _head(kind, asked) | {"choices": [], "usage": USAGE}
    await response.write(b"data: %s\n\ndata: [DONE]\n\n" % json.dumps(last).encode())
    return response

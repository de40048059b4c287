"""An OpenAI-compatible engine that gives every open stream a token at each of its steps, as vLLM does on a GPU.

It costs next to nothing, so what remains is Janroot's own cost of a token. Run as
`python -m bench.stepping_engine PORT STEP_MS`.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import orjson
import uvloop
from aiohttp import web

MODEL = "stepping"
_HEAD = {"id": "chatcmpl-0123456789abcdef", "object": "chat.completion.chunk", "created": 1, "model": MODEL}
_DONE = b"data: [DONE]\n\n"


def _chunk(delta: dict[str, Any], finish_reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason, "token_ids": None}
    return b"data: %s\n\n" % orjson.dumps({**_HEAD, "choices": [choice]})


def _usage(tokens: int) -> bytes:
    usage = {"prompt_tokens": 5, "total_tokens": 5 + tokens, "completion_tokens": tokens}
    return b"data: %s\n\n" % orjson.dumps({**_HEAD, "choices": [], "usage": usage})


class Engine:
    """All open streams, and the step that serves them."""

    def __init__(self, step_seconds: float) -> None:
        self._step_seconds = step_seconds
        self._turns: dict[asyncio.Queue[None], None] = {}

    async def step_for_ever(self, _app: web.Application) -> Any:
        """Step while the application runs."""
        task = asyncio.create_task(self._step_for_ever(), name="step")
        yield
        task.cancel()

    async def _step_for_ever(self) -> None:
        while True:
            began = asyncio.get_running_loop().time()
            for turn in self._turns:
                turn.put_nowait(None)
            await asyncio.sleep(began + self._step_seconds - asyncio.get_running_loop().time())

    async def chat(self, request: web.Request) -> web.StreamResponse:
        """Stream `max_tokens` tokens, one at each step."""
        tokens = orjson.loads(await request.read())["max_tokens"]
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(_chunk({"role": "assistant", "content": ""}))
        turn: asyncio.Queue[None] = asyncio.Queue()
        self._turns[turn] = None
        try:
            for number in range(tokens):
                await turn.get()
                await response.write(_chunk({"content": f" word{number}"}))
        finally:
            del self._turns[turn]
        await response.write(_chunk({}, "length") + _usage(tokens) + _DONE)
        return response


async def _models(_request: web.Request) -> web.Response:
    return web.json_response({"data": [{"id": MODEL, "object": "model"}], "object": "list"})


def main() -> None:
    """Serve until ended."""
    port, step_ms = sys.argv[1:]
    engine = Engine(float(step_ms) / 1000)
    app = web.Application()
    app.cleanup_ctx.append(engine.step_for_ever)
    app.router.add_post("/v1/chat/completions", engine.chat)
    app.router.add_get("/v1/models", _models)
    web.run_app(app, host="127.0.0.1", port=int(port), print=None, access_log=None, loop=uvloop.new_event_loop())


if __name__ == "__main__":
    main()

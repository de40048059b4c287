"""An OpenAI-compatible engine that costs next to nothing: 32 tokens at once, streamed or whole.

What remains when it is asked through Janroot is Janroot's own cost. Run as `python -m bench.fake_engine PORT`.
"""

from __future__ import annotations

import sys
from typing import Any

import orjson
import uvloop
from aiohttp import web

TOKENS = 32
MODEL = "fake"
_HEAD = {"id": "chatcmpl-fake", "created": 1, "model": MODEL}
_USAGE = {"prompt_tokens": 5, "completion_tokens": TOKENS, "total_tokens": 5 + TOKENS}


def _chunk(delta: dict[str, Any], finish_reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason, "logprobs": None}
    body = {**_HEAD, "object": "chat.completion.chunk", "choices": [choice]}
    return b"data: %s\n\n" % orjson.dumps(body)


_CHUNKS = [
    _chunk({"role": "assistant", "content": ""}),
    *(_chunk({"content": f"word{i} "}) for i in range(TOKENS)),
    _chunk({}, "stop"),
    b"data: %s\n\n" % orjson.dumps({**_HEAD, "object": "chat.completion.chunk", "choices": [], "usage": _USAGE}),
    b"data: [DONE]\n\n",
]
_WHOLE = orjson.dumps(
    {
        **_HEAD,
        "object": "chat.completion",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "".join(f"word{i} " for i in range(TOKENS))},
                "finish_reason": "stop",
                "logprobs": None,
            }
        ],
        "usage": _USAGE,
    }
)


async def _chat(request: web.Request) -> web.StreamResponse:
    if not orjson.loads(await request.read()).get("stream"):
        return web.Response(body=_WHOLE, content_type="application/json")
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    for chunk in _CHUNKS:
        await response.write(chunk)
    await response.write_eof()
    return response


async def _health(_request: web.Request) -> web.Response:
    return web.json_response({"data": [{"id": MODEL, "object": "model"}], "object": "list"})


def main() -> None:
    """Serve until ended."""
    app = web.Application()
    app.router.add_post("/v1/chat/completions", _chat)
    app.router.add_get("/v1/models", _health)
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None, access_log=None, loop=uvloop.new_event_loop())


if __name__ == "__main__":
    main()

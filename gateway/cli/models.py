"""`janroot models`: which models there are, how they are, and what is done to them."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Callable, Coroutine
from typing import Any
from urllib.parse import quote

from gateway.cli import model_sources
from gateway.cli.server import Server, ServerError
from gateway.cli.text import memory, safe, size, table

MODELS = "/v1/models"
ASK_SECONDS = 60.0
_FIT = f"{MODELS}/fit"
# Loading may wait for others to make room; stopping waits for the answers being written.
_LOAD_SECONDS = 1_800.0
_STOP_SECONDS = 620.0

_NEEDS = {"weights": "weights", "kv_cache": "KV cache", "overhead": "overhead"}

Command = Callable[[Server, argparse.Namespace], Coroutine[Any, Any, int]]


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Make the commands known."""
    group = commands.add_parser("models", help="get models, look at them, start, stop and remove them")
    models = group.add_subparsers(title="commands", required=True)
    _add(models, "list", _list, "every model with its state", with_id=False)
    _add(models, "show", _show, "all that is known of one model")
    start = _add(models, "start", _start, "load a model; it says when it runs")
    start.add_argument("--no-wait", action="store_true", help="do not wait until it runs")
    _add(models, "stop", _stop, "unload a model once the answers being written are whole")
    fit = _add(
        models, "fit", _fit, "say whether a model fits in memory, before its download too; exit code 1 when it does not"
    )
    fit.add_argument("--ctx-len", type=int, help="tokens of context for each request")
    fit.add_argument("--n-parallel", type=int, help="requests side by side")
    model_sources.add_to(models)
    _add(models, "rm", _remove, "move a model into the trash; it can be undone for a while")


def model_path(model_id: str, verb: str = "") -> str:
    """The path of a model's route."""
    return f"{MODELS}/{quote(model_id, safe='')}{verb and f'/{verb}'}"


def render(model: dict[str, Any]) -> str:
    """One model for a terminal."""
    lines = [
        ("id", model["id"]),
        ("name", model["name"]),
        ("state", _state(model)),
        ("activity", model["activity"]),
        ("engine", f"{model['engine']} ({model['format']})"),
        ("size", size(model.get("size_bytes"))),
        ("devices", _devices(model)),
        ("settings", _json(model["settings"]) if model["settings"] else ""),
        ("parameters", _json(model["parameters"]) if model["parameters"] else ""),
        ("error", (model["error"] or {}).get("message")),
        *(("warning", warning) for warning in model["warnings"]),
    ]
    return "\n".join(f"{name:<11}{safe(str(value))}" for name, value in lines if value)


def _add(
    models: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    run: Command,
    about: str,
    *,
    with_id: bool = True,
) -> argparse.ArgumentParser:
    parser = models.add_parser(name, help=about, description=about)
    if with_id:
        what = "the model's id, as `janroot models list` tells it"
        parser.add_argument("id", help=f"{what}, or a URL or repository" if name == "fit" else what)
    parser.add_argument("--json", action="store_true", help="print the server's answer as it is")
    parser.set_defaults(run=run)
    return parser


async def _list(server: Server, options: argparse.Namespace) -> int:
    answer = await server.get(MODELS, timeout_seconds=ASK_SECONDS)
    if options.json:
        print(json.dumps(answer, indent=2))
    elif not answer["data"]:
        print("There is no model yet: `janroot models pull SOURCE` downloads one.")
    else:
        rows = [
            [safe(model["id"]), _state(model), size(model.get("size_bytes")), _devices(model), _remarks(model)]
            for model in answer["data"]
        ]
        print(table(["MODEL", "STATE", "SIZE", "DEVICES", "REMARKS"], rows))
    return 0


async def _show(server: Server, options: argparse.Namespace) -> int:
    return _told(await server.get(model_path(options.id), timeout_seconds=ASK_SECONDS), options)


async def _start(server: Server, options: argparse.Namespace) -> int:
    body = json.dumps({"wait": not options.no_wait}).encode()
    path = model_path(options.id, "start")
    try:
        return _told(await _post(server, path, body, _LOAD_SECONDS), options)
    except asyncio.CancelledError:
        print(f"It goes on loading; `janroot models stop {safe(options.id)}` ends that.", file=sys.stderr)
        raise


async def _stop(server: Server, options: argparse.Namespace) -> int:
    return _told(await _post(server, model_path(options.id, "stop"), b"{}", _STOP_SECONDS), options)


async def _fit(server: Server, options: argparse.Namespace) -> int:
    asked = {"ctx_len": options.ctx_len, "n_parallel": options.n_parallel}
    body = {name: value for name, value in asked.items() if value is not None}
    try:
        answer = await _post(server, model_path(options.id, "fit"), json.dumps(body).encode(), ASK_SECONDS)
    except ServerError as error:
        if error.code != "model_not_found" or not _may_be_source(options.id):
            raise
        answer = await _post(server, _FIT, json.dumps(body | {"source": options.id}).encode(), ASK_SECONDS)
    print(json.dumps(answer, indent=2) if options.json else render_fit(answer))
    return 0 if answer["fits"] else 1


async def _remove(server: Server, options: argparse.Namespace) -> int:
    answer = await server.ask("DELETE", model_path(options.id), timeout_seconds=_STOP_SECONDS)
    if options.json:
        print(json.dumps(answer, indent=2))
    else:
        entry = f"/v1/trash/{answer['trash_id']}"
        print(
            f"{safe(answer['id'])} is in the trash. POST {entry}/restore undoes it, DELETE {entry} makes room at once."
        )
    return 0


def render_fit(answer: dict[str, Any]) -> str:
    """Whether a model fits, for a terminal."""
    lines = [safe(answer["why"])]
    needs = answer["needs"]
    if needs["total"]:
        parts = ", ".join(f"{name} {memory(needs[key])}" for key, name in _NEEDS.items())
        count = answer["n_parallel"]
        requests = f"{count} requests of {answer['ctx_len']} tokens each" if count != 1 else _one(answer["ctx_len"])
        lines.append(f"{memory(needs['total'])} for {requests}: {parts}.")
        if not answer["measured"]:
            lines.append("Estimated from the files' headers; loading the model once corrects it.")
    return "\n".join(lines)


async def _post(server: Server, path: str, body: bytes, seconds: float) -> dict[str, Any]:
    return await server.ask("POST", path, body, content_type="application/json", timeout_seconds=seconds)


def _told(model: dict[str, Any], options: argparse.Namespace) -> int:
    print(json.dumps(model, indent=2) if options.json else render(model))
    return 0


def _one(ctx_len: int) -> str:
    return f"1 request of {ctx_len} tokens"


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _may_be_source(text: str) -> bool:
    """Whether it could be a URL or a repository, of which the answer is sought before the download."""
    return "/" in text or ":" in text


def _state(model: dict[str, Any]) -> str:
    progress = model["progress"]
    return model["state"] if progress is None else f"{model['state']} {progress:.0%}"


def _devices(model: dict[str, Any]) -> str:
    ids = [device["id"] for placement in model["placements"] for device in placement["devices"]]
    return safe(" ".join(dict.fromkeys(ids)))


def _remarks(model: dict[str, Any]) -> str:
    if model["error"]:
        return safe(model["error"]["message"])
    count = len(model["warnings"])
    return f"{count} warning{'s' if count != 1 else ''} (janroot models show tells them)" if count else ""

"""`janroot models pull`, `cancel` and `import`: getting models onto the server, and watching how that goes."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import Any
from urllib.parse import quote

from gateway.cli.progress import Show, moving_bar
from gateway.cli.server import ConnectionBrokenError, Server, ServerError
from gateway.cli.text import safe, size

_PULLS = "/v1/models/pull"
_IMPORT = "/v1/models/import"
_JSON = "application/json"
_ASK_SECONDS = 60.0
# A gateway that is started again goes on with its downloads.
_TRIES = 30
_PAUSE_SECONDS = 1.0
_BASE = "the model that a LoRA adapter belongs to, where its files do not make that clear"
_ENDED = ("completed", "error", "cancelled")


def add_to(models: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Make the commands known."""
    about = "download a model, from a URL or a Hugging Face repository"
    pull = models.add_parser("pull", help=about, description=about)
    sources = "a URL, ORG/REPO, ORG/REPO:FILE-OR-QUANTIZATION, or the id of a model whose files are still to come"
    pull.add_argument("source", metavar="SOURCE", help=sources)
    pull.add_argument("--id", default="", help="the id that the model is to have")
    pull.add_argument("--base-model", default="", metavar="ID", help=_BASE)
    pull.set_defaults(run=_pull)
    about = "end a download and remove what was fetched"
    cancel = models.add_parser("cancel", help=about, description=about)
    cancel.add_argument("id", metavar="ID", help="the download's id, or that of the model that it brings")
    cancel.set_defaults(run=_cancel)
    about = "make a model of a GGUF file or a folder of safetensors that lies on the server's machine"
    taking = models.add_parser("import", help=about, description=about)
    taking.add_argument("path", metavar="PATH", help="the file or folder, below one that JANROOT_IMPORT_PATHS allows")
    taking.add_argument("--id", default="", help="the id that the model is to have (default: from the path's name)")
    taking.add_argument("--name", default="", help="what people call it")
    taking.add_argument("--base-model", default="", metavar="ID", help=_BASE)
    taking.add_argument(
        "--copy", action="store_true", help="copy the files into the janroot instead of linking to them"
    )
    taking.set_defaults(run=_import)
    for parser in (pull, cancel, taking):
        parser.add_argument("--json", action="store_true", help="print the server's last answer as it is")


async def _pull(server: Server, options: argparse.Namespace) -> int:
    """Begin a download, or join the one under way, and watch it to its end. Raises ServerError: why it failed."""
    asked = {"model": options.source, "stream": True} | ({"id": options.id} if options.id else {})
    asked |= {"base_model": options.base_model} if options.base_model else {}
    path = _PULLS
    if not options.id and await _is_at_rest(server, options.source):
        path, asked = f"/v1/models/{quote(options.source, safe='')}/pull", {"stream": True}
    last: dict[str, Any] = {}
    with moving_bar("Downloading") as show:
        try:
            async with aclosing(_following(server, path, asked)) as events:
                async for last in events:
                    show(last["bytes"], last["total_bytes"])
        except asyncio.CancelledError:
            print(_left(last), file=sys.stderr)
            raise
    _tell(last, options, f"{safe(str(last.get('model', '')))} is here: {size(last.get('bytes'))}.")
    return 0


async def _is_at_rest(server: Server, source: str) -> bool:
    """Whether it is the id of a model that is known, and whose files are not here."""
    if ":" in source:
        return False
    try:
        model = await server.get(f"/v1/models/{quote(source, safe='')}", timeout_seconds=_ASK_SECONDS)
    except ServerError as error:
        if error.code != "model_not_found":
            raise
        return False
    error_code = (model["error"] or {}).get("code")
    return model["state"] == "to_download" or error_code == "model_file_missing"


async def _following(server: Server, path: str, asked: dict[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
    """The progress of a download, and its record at the end; taken up again when the gateway went away."""
    pull_id, tries = "", 0
    body = json.dumps(asked).encode()
    while True:
        try:
            stream = server.events(f"{_PULLS}/{pull_id}/events") if pull_id else server.events(path, body, _JSON)
            async with aclosing(stream) as events:
                async for event in events:
                    pull_id, tries = event["id"], 0
                    yield event
                    if event.get("object") == "model.pull":
                        return
            reason = ConnectionBrokenError(f"{server.url} ended the stream before the download's end.")
        except ConnectionBrokenError as error:
            reason = error
        tries += 1
        if not pull_id or tries > _TRIES:
            raise reason
        await asyncio.sleep(_PAUSE_SECONDS)


async def _cancel(server: Server, options: argparse.Namespace) -> int:
    """End the download of that id, or of the model of that id. Raises ServerError: there is none."""
    known = (await server.get(_PULLS, timeout_seconds=_ASK_SECONDS))["data"]
    named = [pull for pull in known if options.id in (pull["id"], pull["model"])]
    under_way = [pull for pull in named if pull["state"] not in ("completed", "cancelled")]
    if not under_way:
        told = f"it is {named[0]['state']}" if named else "GET /v1/models/pull lists those that there are"
        raise ServerError(f"no download of {options.id!r} is under way: {told}.")
    path = f"{_PULLS}/{quote(under_way[0]['id'], safe='')}"
    pull = await server.ask("DELETE", path, timeout_seconds=_ASK_SECONDS)
    _tell(pull, options, f"{safe(pull['model'])}: {pull['state']}.")
    return 0 if pull["state"] == "cancelled" else 1


async def _import(server: Server, options: argparse.Namespace) -> int:
    """Take a model in. Raises ServerError: why it is refused."""
    asked = {
        "modelPath": str(await asyncio.to_thread(_absolute, options.path)),
        "model": options.id or None,
        "name": options.name or None,
        "base_model": options.base_model or None,
        "option": "copy" if options.copy else "symlink",
        "stream": True,
    }
    model: dict[str, Any] = {}
    with moving_bar("Copying" if options.copy else "Linking") as show:
        async with aclosing(server.events(_IMPORT, json.dumps(asked).encode(), _JSON)) as events:
            async for event in events:
                model = _shown(event, show)
    if not model:
        raise ServerError(f"{server.url} ended the stream before the import's end.")
    _tell(model, options, _imported(model))
    return 0


def _shown(event: dict[str, Any], show: Show) -> dict[str, Any]:
    """The model, when the event is about one; progress is shown."""
    if event.get("object") == "model":
        return event
    show(event["bytes"], event["total_bytes"])
    return {}


def _imported(model: dict[str, Any]) -> str:
    lines = [f"{safe(model['id'])} is here: {model['engine']} ({model['format']}), {size(model['size_bytes'])}."]
    if model["left_out"]:
        lines.append(f"Left where it is: {safe(', '.join(model['left_out'][:20]))}.")
    return "\n".join([*lines, *(f"Warning: {safe(warning)}" for warning in model["warnings"])])


def _absolute(path: str) -> Path:
    """As it is named from here; links are the server's business."""
    return Path(path).expanduser().absolute()


def _left(pull: dict[str, Any]) -> str:
    """What to say to somebody who stops watching."""
    if not pull or pull.get("state") in _ENDED:
        return "janroot: stopped."
    return (
        f"janroot: the download goes on without you. `janroot models list` tells how far it is, "
        f"`janroot models cancel {pull['id']}` ends it."
    )


def _tell(answer: dict[str, Any], options: argparse.Namespace, sentence: str) -> None:
    print(json.dumps(answer, indent=2) if options.json else sentence)

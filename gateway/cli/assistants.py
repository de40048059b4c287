"""`janroot assistants import PATH|URL`: take in an assistant's folder, a zip of it, or what a URL leads to."""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from gateway.cli.folders import Folder, look_into, zip_pieces
from gateway.cli.imports import Piece, file_pieces, uploaded
from gateway.cli.progress import bytes_bar
from gateway.cli.server import Server, ServerError

_PATH = "/v1/assistants"
_IMPORT = f"{_PATH}/import"
_LOOK_SECONDS = 0.3
_UPLOAD_SECONDS = 3600.0
_ASK_SECONDS = 60.0


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Make the commands known."""
    group = commands.add_parser("assistants", help="bring assistants in").add_subparsers(
        title="commands", required=True
    )
    parser = group.add_parser("import", help="take in an assistant; exit code 1 when it could not be downloaded")
    parser.add_argument("source", help="an assistant's folder, a zip of it, an assistant.json, or the URL of one")
    parser.add_argument("--id", default="", help="the id it is to have (default: its folder's name)")
    parser.add_argument("--json", action="store_true", help="print the assistant as the server answers it")
    parser.set_defaults(run=run)


async def run(server: Server, options: argparse.Namespace) -> int:
    """Take it in, follow a download, print what became of it; 1 when it is not here. Raises ServerError."""
    source: str = options.source
    if source.startswith(("http://", "https://")):
        assistant = await _download(server, source, options.id)
    else:
        try:
            assistant = await _send(server, Path(source), options.id)
        except OSError as error:
            raise ServerError(f"{source} cannot be read: {error.strerror}.") from None
    print(json.dumps(assistant, indent=2) if options.json else render(assistant))
    return 1 if assistant["state"] == "to_download" else 0


def render(assistant: dict[str, Any]) -> str:
    """The assistant for a terminal, and what to do next."""
    name = f" ({assistant['name']!a})" if assistant["name"] else ""
    told = f"{assistant['id']}{name}: {assistant['state']}"
    if assistant["state"] != "to_download":
        return told
    reason = (assistant["error"] or {}).get("message") or "The download stopped."
    return f"{told}\n{reason}\nThe same command tries again."


async def _send(server: Server, path: Path, wanted: str) -> dict[str, Any]:
    """Upload a folder, packed on the way, or a file as it is. Raises ServerError, OSError."""
    if await asyncio.to_thread(path.is_dir):
        folder = await asyncio.to_thread(_folder, path)
        size_bytes, pieces = folder.size_bytes, zip_pieces(folder)
    else:
        size_bytes, pieces = (await asyncio.to_thread(path.stat)).st_size, file_pieces(path)
    return await _upload(server, pieces, size_bytes, wanted)


async def _upload(server: Server, pieces: Iterator[Piece], size_bytes: int, wanted: str) -> dict[str, Any]:
    with bytes_bar("Sending", size_bytes) as advance:
        return await server.ask(
            "POST",
            f"{_IMPORT}?id={quote(wanted, safe='')}" if wanted else _IMPORT,
            uploaded(pieces, advance),
            content_type="application/octet-stream",
            timeout_seconds=_UPLOAD_SECONDS,
        )


async def _download(server: Server, url: str, wanted: str) -> dict[str, Any]:
    """Have the server fetch it, and watch. Raises ServerError."""
    body = json.dumps({"url": url} | ({"id": wanted} if wanted else {})).encode()
    assistant = await server.ask("POST", _IMPORT, body, content_type="application/json", timeout_seconds=_ASK_SECONDS)
    with bytes_bar("Downloading") as advance:
        seen = 0
        while assistant["state"] == "downloading":
            advance(assistant["downloaded_bytes"] - seen)
            seen = assistant["downloaded_bytes"]
            await asyncio.sleep(_LOOK_SECONDS)
            assistant = await server.get(f"{_PATH}/{assistant['id']}", timeout_seconds=_ASK_SECONDS)
    return assistant


def _folder(path: Path) -> Folder:
    """An assistant's folder under its own name, which becomes its id."""
    found = look_into(path, weights=True)
    name = path.resolve().name
    return replace(found, files=tuple((file, f"{name}/{place}") for file, place in found.files))

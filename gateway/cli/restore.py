"""`janroot restore`: put a backup in the place of what the janroot holds, and undo that."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Any, BinaryIO
from urllib.parse import quote

from gateway.cli.progress import Advance, bytes_bar
from gateway.cli.server import Server, ServerError

STDIN = "-"
_PIECE_BYTES = 256 * 1024
# How long the storage service may take to start again.
_RESTART_SECONDS = 600.0
_POLL_SECONDS = 0.2
_QUESTION_SECONDS = 10.0


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Make the command known."""
    parser = commands.add_parser("restore", help="put a backup in the place of all that the janroot holds")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("file", nargs="?", metavar="FILE", help="the backup; - is standard input")
    what.add_argument("--undo", metavar="ID", help="bring back what a restore replaced, by its id in the trash")
    parser.add_argument("--dry-run", action="store_true", help="only check the backup, all of it")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.set_defaults(run=run)


async def run(server: Server, options: argparse.Namespace) -> int:
    """Restore, and wait until the server is back; 1 when it was not wanted after all. Raises ServerError."""
    if options.undo:
        if not _is_meant(server, options, f"what {options.undo} holds"):
            return 1
        return await _undo(server, options.undo)
    if not options.dry_run and not _is_meant(server, options, f"the backup {options.file}"):
        return 1
    told = await _send(server, options.file, dry_run=options.dry_run)
    made = datetime.fromtimestamp(told["created_at"], UTC)
    what = f"{told['threads']} threads, {told['files']} files, {told['bytes']} bytes, made {made:%Y-%m-%d %H:%M:%S} UTC"
    if options.dry_run:
        print(f"The backup is whole: {what}. Nothing was changed.")
        return 0
    await _until(server, told["trash_id"], is_there=True)
    print(f"Restored: {what}.\nWhat it replaced is in the trash. To undo: janroot restore --undo {told['trash_id']}")
    return 0


def _is_meant(server: Server, options: argparse.Namespace, what: str) -> bool:
    if options.yes:
        return True
    if options.file == STDIN or not sys.stdin.isatty():
        raise ServerError("this replaces the whole janroot: say that you mean it with --yes.")
    print(f"This replaces everything in the janroot of {server.url} by {what}; it can be undone from the trash.")
    if input("Type yes to go on: ").strip().lower() == "yes":
        return True
    print("Nothing was changed.")
    return False


async def _send(server: Server, name: str, *, dry_run: bool) -> dict[str, Any]:
    with ExitStack() as stack:
        try:
            file = sys.stdin.buffer if name == STDIN else stack.enter_context(open(name, "rb"))  # noqa: PTH123, ASYNC230
            size = None if name == STDIN else os.fstat(file.fileno()).st_size
        except OSError as error:
            raise ServerError(f"cannot read {name}: {error.strerror}.") from None
        advance = stack.enter_context(bytes_bar("Sending", size))
        path = f"/v1/storage/restore?dry_run={str(dry_run).lower()}"
        return await server.ask(
            "POST", path, _pieces(file, advance), content_type="application/zip", timeout_seconds=None, length=size
        )


async def _pieces(file: BinaryIO, advance: Advance) -> AsyncIterator[bytes]:
    while data := await asyncio.to_thread(file.read, _PIECE_BYTES):
        yield data
        advance(len(data))


async def _undo(server: Server, trash_id: str) -> int:
    await server.ask("POST", f"/v1/trash/{quote(trash_id, safe='')}/restore", timeout_seconds=_QUESTION_SECONDS)
    await _until(server, trash_id, is_there=False)
    print("It is back. What it replaced is in the trash now.")
    return 0


async def _until(server: Server, trash_id: str, *, is_there: bool) -> None:
    """Wait until storage has started again: the trash has what was replaced, or has it no more."""
    give_up_at = time.monotonic() + _RESTART_SECONDS
    with bytes_bar("Waiting for the server"):
        while time.monotonic() < give_up_at:
            try:
                trash = await server.get("/v1/trash?limit=100", timeout_seconds=_QUESTION_SECONDS)
            except ServerError:
                trash = {"data": None}
            if trash["data"] is not None and is_there == any(entry["id"] == trash_id for entry in trash["data"]):
                return
            await asyncio.sleep(_POLL_SECONDS)
    raise ServerError("storage did not start again; its log says why. The swap goes on when it does.")

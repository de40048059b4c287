"""`janroot backup`: the whole janroot in one file, to put back with `janroot restore`."""

from __future__ import annotations

import argparse
from datetime import datetime

from gateway.cli.saving import save, say
from gateway.cli.server import Server


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Make the command known."""
    parser = commands.add_parser("backup", help="save the whole janroot in one file")
    parser.add_argument(
        "-o", "--output", metavar="FILE", help="where to (default: janroot-backup-DATE.zip); - is standard output"
    )
    parser.add_argument("--weights", action="store_true", help="the weights of models, too")
    parser.set_defaults(run=run)


async def run(server: Server, options: argparse.Namespace) -> int:
    """Save it. Raises ServerError."""
    target = options.output or f"janroot-backup-{datetime.now().astimezone():%Y-%m-%d-%H%M%S}.zip"
    headers = await save(server, f"/v1/storage/backup?weights={str(options.weights).lower()}", target)
    say(target, f"Saved the janroot with {headers.get('X-Janroot-Threads')} threads as {target}.{_left_out(headers)}")
    return 0


def _left_out(headers: dict[str, str]) -> str:
    count = headers.get("X-Janroot-Left-Out", "0")
    return "" if count == "0" else f" Left out: {count} files or links; janroot-backup.json in it names them."

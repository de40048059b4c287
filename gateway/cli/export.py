"""`janroot export`: one thread as a file, or the whole janroot to share."""

from __future__ import annotations

import argparse

from gateway.cli.saving import save, say
from gateway.cli.server import Server, ServerError
from jan.errors import InvalidArgumentError
from jan.ids import ThreadId

ENDINGS = {"zip": "zip", "markdown": "md", "json": "json"}


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Make the command known."""
    parser = commands.add_parser("export", help="save a thread, or the whole janroot without its keys, as a file")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("thread_id", nargs="?", help="the thread")
    what.add_argument("--all", action="store_true", help="the whole janroot, to share or to move: no keys are in it")
    parser.add_argument("--format", choices=ENDINGS, default="zip", help="of a thread (default: zip, its own files)")
    parser.add_argument("--weights", action="store_true", help="with --all: the weights of models, too")
    parser.add_argument(
        "-o", "--output", metavar="FILE", help="where to (default: the thread's id); - is standard output"
    )
    parser.set_defaults(run=run)


async def run(server: Server, options: argparse.Namespace) -> int:
    """Save it. Raises ServerError."""
    if options.all:
        return await _all(server, options)
    try:
        thread_id = ThreadId.parse(options.thread_id)
    except InvalidArgumentError as error:
        raise ServerError(error.message) from None
    target = options.output or f"{thread_id}.{ENDINGS[options.format]}"
    await save(server, f"/v1/threads/{thread_id}/export?format={options.format}", target)
    say(target, f"Saved thread {thread_id} as {target}.")
    return 0


async def _all(server: Server, options: argparse.Namespace) -> int:
    if not options.output:
        raise ServerError("say where to with -o FILE.")
    headers = await save(server, f"/v1/storage/export?weights={str(options.weights).lower()}", options.output)
    say(
        options.output,
        f"Saved {headers.get('X-Janroot-Threads')} threads and what belongs to them as {options.output}.",
    )
    return 0

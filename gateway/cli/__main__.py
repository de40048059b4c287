"""`janroot COMMAND`, also as `python -m gateway.cli COMMAND`."""

from __future__ import annotations

import argparse
import asyncio
import errno
import os
import sys
from collections.abc import Sequence
from contextlib import suppress

from gateway.cli import assistants, backup, doctor, export, imports, models, restore
from gateway.cli.server import Server, ServerError

# As a shell tells of a program that Ctrl-C ended.
_INTERRUPTED = 130
# As it tells of one that SIGPIPE ended.
_UNREAD = 141
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code is the command's, 2 when the server did not answer as it should.

    130 after Ctrl-C, 141 when nobody reads the output any more, 2 when it cannot be written.
    """
    try:
        try:
            return _run(arguments)
        finally:
            if sys.stdout is not None:  # None: it was closed before the start
                sys.stdout.flush()
    except BrokenPipeError:
        return _give_up_output(_UNREAD)
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        with suppress(OSError):
            print(f"janroot: cannot write: {error.strerror}.", file=sys.stderr)
        return _give_up_output(2)


def _run(arguments: Sequence[str] | None) -> int:
    parser = argparse.ArgumentParser(prog="janroot", description="Ask a running Janroot.")
    parser.add_argument("--url", help="where it listens (default: from JANROOT_HOST and JANROOT_PORT)")
    commands = parser.add_subparsers(title="commands", required=True)
    for command in (doctor, models, imports, assistants, export, backup, restore):
        command.add_to(commands)
    options = parser.parse_args(arguments)
    try:
        server = Server.from_environment(os.environ, options.url)
        exit_code: int = asyncio.run(options.run(server, options))
    except ServerError as error:
        print(f"janroot: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return _INTERRUPTED
    return exit_code


def _give_up_output(exit_code: int) -> int:
    """Let Python's last flush go nowhere: it would fail again, and say so at length."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
    return exit_code


if __name__ == "__main__":
    sys.exit(main())

"""`janroot COMMAND`, also as `python -m gateway.cli COMMAND`."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence

from gateway.cli import assistants, backup, doctor, export, imports, models, restore
from gateway.cli.server import Server, ServerError

# As a shell tells of a program that Ctrl-C ended.
_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code is the command's, 2 when the server did not answer as it should.

    130 after Ctrl-C.
    """
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


if __name__ == "__main__":
    sys.exit(main())

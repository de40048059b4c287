"""`janroot doctor`: what is unusual in the janroot, and what to do about it."""

from __future__ import annotations

import argparse
import json
from typing import Any

from gateway.cli.server import Server
from gateway.cli.text import safe

# A cold disk with 100,000 threads takes half a minute.
_TIMEOUT_SECONDS = 600.0


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Make the command known."""
    parser = commands.add_parser("doctor", help="say what is unusual in the janroot; exit code 1 when it wants a hand")
    parser.add_argument("--all", action="store_true", help="also say what needs nobody's hand")
    parser.add_argument("--json", action="store_true", help="print the server's answer as it is")
    parser.set_defaults(run=run)


async def run(server: Server, options: argparse.Namespace) -> int:
    """Print the report; 1 when something wants a hand. Raises ServerError."""
    report = await server.get("/v1/storage/report?limit=10000", timeout_seconds=_TIMEOUT_SECONDS)
    print(json.dumps(report, indent=2) if options.json else render(report, tell_all=options.all))
    return 1 if report["needs_hand"] else 0


def render(report: dict[str, Any], *, tell_all: bool) -> str:
    """The report for a terminal: what wants a hand, and the rest when it is asked for."""
    told = [finding for finding in report["findings"] if tell_all or finding["severity"] != "info"]
    blocks = [_block(finding) for finding in told]
    if report["has_more"]:
        blocks.append("There are more than 10,000 findings; mend some and look again.")
    return "\n\n".join([*blocks, _summary(report["counts"], told_info=tell_all)])


def _block(finding: dict[str, Any]) -> str:
    detail = f" ({safe(finding['detail'])})" if finding["detail"] else ""
    return (
        f"{finding['severity'].upper()}  {safe(finding['path'])}{detail}\n"
        f"  {finding['kind']}: {finding['meaning']}\n"
        f"  To do: {finding['action']}"
    )


def _summary(counts: dict[str, int], *, told_info: bool) -> str:
    if not any(counts.values()):
        return "Nothing unusual."
    hint = "" if told_info or not counts["info"] else " (--all tells those, too)"
    return f"{counts['error']} errors, {counts['warning']} warnings, {counts['info']} notes{hint}."

"""`janroot import PATH`: take in a zip, a conversations.json, or a folder that lies on this machine."""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from gateway.cli.folders import Folder, LeftOut, look_into, zip_pieces
from gateway.cli.progress import Advance, bytes_bar, items_bar
from gateway.cli.server import Server, ServerError

_PATH = "/v1/threads/import"
_PIECE_BYTES = 256 * 1024
_SHOWN = 20
Piece = tuple[bytes, int]


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Make the command known."""
    parser = commands.add_parser("import", help="take in threads, a Jan folder, or the export of ChatGPT or Claude")
    parser.add_argument("path", type=Path, help="a zip, a conversations.json, a Jan data folder or one thread's folder")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, and do nothing")
    parser.add_argument("--weights", action="store_true", help="send the weights of models too, from a folder")
    parser.add_argument("--json", action="store_true", help="print the server's report as it is")
    parser.set_defaults(run=run)


async def run(server: Server, options: argparse.Namespace) -> int:
    """Send it, follow the work, print the report; 1 when something wants a look. Raises ServerError."""
    path: Path = options.path
    try:
        is_folder = await asyncio.to_thread(path.is_dir)
        folder = await asyncio.to_thread(look_into, path, weights=options.weights) if is_folder else None
        report = await _send(server, path, folder, dry_run=options.dry_run)
    except OSError as error:
        raise ServerError(f"{path} cannot be read: {error.strerror}.") from None
    print(json.dumps(report, indent=2) if options.json else render(report, folder.left_out if folder else None))
    return 1 if wants_a_look(report) else 0


async def _send(server: Server, path: Path, folder: Folder | None, *, dry_run: bool) -> dict[str, Any]:
    """Upload and follow. Raises ServerError, OSError."""
    if folder is None:
        size_bytes, content_type = await asyncio.to_thread(_about, path)
        pieces: Callable[[], Iterator[Piece]] = lambda: file_pieces(path)  # noqa: E731
    else:
        size_bytes, content_type = folder.size_bytes, "application/zip"
        pieces = lambda: zip_pieces(folder)  # noqa: E731
    with bytes_bar("Sending", size_bytes) as advance:
        body = uploaded(pieces(), advance)
        answers = server.events(f"{_PATH}?stream=true&dry_run={str(dry_run).lower()}", body, content_type)
        return await _followed(answers)


async def _followed(answers: AsyncIterator[dict[str, Any]]) -> dict[str, Any]:
    """Show how far the server is; answers its report. Raises ServerError: there is none."""
    with ExitStack() as bars:
        shown: dict[str, Advance] = {}
        done: dict[str, int] = {}
        async for answer in answers:
            if answer.get("object") == "import.report":
                return answer
            stage = answer.get("stage", "")
            if stage not in shown and stage != "waiting":
                bar = bytes_bar if stage == "reading" else items_bar
                shown[stage] = bars.enter_context(bar(stage.capitalize(), answer["total"]))
            if stage in shown:
                shown[stage](answer["done"] - done.get(stage, 0))
                done[stage] = answer["done"]
    raise ServerError("The import ended without a report; look at the server's log.")


async def uploaded(pieces: Iterator[Piece], advance: Advance) -> AsyncIterator[bytes]:
    """The bytes as they are read, off the event loop."""
    while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
        data, read = piece
        if data:
            yield data
        advance(read)


def file_pieces(path: Path) -> Iterator[Piece]:
    """A file's bytes, each piece with its length. Raises OSError."""
    with path.open("rb") as file:
        while data := file.read(_PIECE_BYTES):
            yield data, len(data)


def _about(path: Path) -> tuple[int, str]:
    with path.open("rb") as file:
        return path.stat().st_size, "application/zip" if file.read(2) == b"PK" else "application/json"


def wants_a_look(report: dict[str, Any]) -> bool:
    """Whether a person should see to something: files were set aside, or keys are to be entered again."""
    counts = report["counts"]
    return bool(counts["quarantined"] or counts["redacted"])


def render(report: dict[str, Any], left_out: LeftOut | None = None) -> str:
    """The report for a terminal: counts, what wants a look, what to do next."""
    blocks = [_summary(report)]
    titles = {
        "remapped": "Came in under another name",
        "quarantined": f"{'To be set' if report['dry_run'] else 'Set'} aside in {report['quarantine']}",
        "redacted": "Keys that were left behind",
        "refused": "Left out",
        "notes": "What the threads do not show",
    }
    blocks += [_list(title, report[name], report["counts"][name]) for name, title in titles.items() if report[name]]
    if left_out is not None and left_out.files:
        stayed = ", ".join(
            f"{count} in {reason}" if reason.endswith("/") else f"{count} {reason}"
            for reason, count in left_out.files.items()
        )
        blocks.append(f"Not sent: {stayed}.")
    if left_out is not None and left_out.missed:
        missed = [{"path": repr(place)[1:-1], "reason": reason} for place, reason in left_out.missed.items()]
        blocks.append(_list("Not sent, and perhaps missed", missed, len(missed), hint=""))
    return "\n\n".join([*blocks, _next(report)])


_ALWAYS = ("threads", "messages", "assistants", "models", "files")
_WHERE_SOME = {"vector_stores": "vector stores", "completions": "stored chats", "batches": "batches"}


def _summary(report: dict[str, Any]) -> str:
    counts = report["counts"]
    new = ", ".join(_many(counts[name], name) for name in _ALWAYS)
    more = [_many(counts[name], things) for name, things in _WHERE_SOME.items() if counts.get(name)]
    new = ", ".join([new, *more])
    verb = "Would bring in" if report["dry_run"] else "Brought in"
    return f"{verb} {new}.\nHere already: {_many(counts['already_here'], 'things')}."


def _many(count: int, things: str) -> str:
    one = "batch" if things == "batches" else things.removesuffix("s")
    return f"{count:,} {things if count != 1 else one}"


def _list(title: str, items: list[dict[str, str]], count: int, hint: str = " (--json tells them)") -> str:
    lines = [f"  {_line(item)}" for item in items[:_SHOWN]]
    more = [f"  … and {count - len(lines):,} more{hint}"] if count > len(lines) else []
    return "\n".join([f"{title}:", *lines, *more])


def _line(item: dict[str, str]) -> str:
    if "from" in item:
        return f"{item['kind']} {item['from']} → {item['id']}"
    place = item.get("path") or item.get("id", "")
    return ": ".join(filter(None, (place, item.get("key", ""), item.get("reason", ""))))


def _next(report: dict[str, Any]) -> str:
    if report["dry_run"]:
        return "Nothing was changed. Leave out --dry-run to do it."
    steps = []
    if report["counts"]["quarantined"]:
        steps.append("Look through what was set aside, then remove it.")
    if report["counts"]["redacted"]:
        steps.append("Enter those keys again where they are needed.")
    return " ".join([*steps, "Open the threads as any others; `janroot doctor` says what is unusual in them."])

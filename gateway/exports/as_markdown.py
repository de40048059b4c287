"""A conversation to read, in Markdown: who said what, and when, with the names of files."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import orjson
from google.protobuf.timestamp_pb2 import Timestamp

from gateway.convert.messages import message_from_proto
from jan.storage.v1 import messages_pb2, threads_pb2

FileNames = Callable[[messages_pb2.Message], Awaitable[Sequence[str]]]

UNTITLED = "Untitled conversation"


async def pieces(
    thread: threads_pb2.Thread,
    pages: AsyncIterable[Sequence[messages_pb2.Message]],
    file_names: FileNames,
) -> AsyncGenerator[bytes, None]:
    """The title, then a section for each message, oldest first. What people and models wrote is left as it is."""
    title = " ".join(thread.title.split()) or UNTITLED
    yield f"# {title}\n\nThread `{thread.id}`, begun {_time(thread.created_at)}.\n".encode()
    async for page in pages:
        for message in page:
            yield section(message, await file_names(message)).encode("utf-8", "replace")


def section(message: messages_pb2.Message, file_names: Sequence[str]) -> str:
    """One message."""
    shown = message_from_proto(message)
    incomplete = "" if shown["status"] == "completed" else f" · {shown['status'].replace('_', ' ')}"
    texts = [text for part in shown["content"] if (text := _text(part))]
    files = "\n".join(f"- file: {' '.join(name.split())}" for name in file_names)
    head = f"## {shown['role'].capitalize()} · {_time(message.created_at)}{incomplete}"
    return "\n---\n\n" + "\n\n".join([head, *texts, *filter(None, [files])]) + "\n"


def _text(part: dict[str, Any]) -> str:
    """A part of a message; files are named below it."""
    match part:
        case {"type": "text", "text": {"value": str(value)}}:
            return value
        case {"type": "image_url", "image_url": {"url": str(url)}}:
            return "*(an image inside the message)*" if url.startswith("data:") else f"![image]({url})"
        case {"type": "refusal", "refusal": str(text)}:
            return text
        case {"type": "image_file" | "file"}:
            return ""
    return f"```json\n{orjson.dumps(part, option=orjson.OPT_INDENT_2).decode()}\n```"


def _time(stamp: Timestamp) -> str:
    return datetime.fromtimestamp(stamp.seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")

"""Exports and backups: a thread as a zip, as a page to read or as the API shows it; the whole janroot as a zip."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Sequence
from contextlib import aclosing
from datetime import UTC, datetime

from aiohttp import web

from gateway.downloads import send_file
from gateway.exports import as_json, as_markdown
from gateway.keys import STORAGE
from gateway.routes.threads import thread_id_of
from gateway.storage import MAX_PAGE_SIZE, StorageClient
from jan.errors import InvalidArgumentError
from jan.ids import ThreadId
from jan.storage.v1 import archives_pb2, messages_pb2, paging_pb2

routes = web.RouteTableDef()

ZIP, MARKDOWN, JSON = "zip", "markdown", "json"
# A format's ending and content type.
FORMATS = {
    ZIP: ("zip", "application/zip"),
    MARKDOWN: ("md", "text/markdown; charset=utf-8"),
    JSON: ("json", "application/json"),
}


@routes.get("/v1/threads/{thread_id}/export")
async def export_thread(request: web.Request) -> web.StreamResponse:
    """A thread as a file: `format` is zip (its own files, byte for byte), markdown or json; 404 when it is unknown."""
    thread_id = thread_id_of(request)
    wanted = request.query.get("format", ZIP)
    if wanted not in FORMATS:
        raise InvalidArgumentError(f"format must be one of {', '.join(FORMATS)}.", param="format")
    ending, content_type = FORMATS[wanted]
    async with aclosing(_pieces(request.app[STORAGE], thread_id, wanted)) as pieces:
        first = await anext(pieces)  # what is wrong with the thread is known by now
        whole = _with_first(first, pieces)
        return await send_file(request, f"{thread_id}.{ending}", None, whole, content_type=content_type)


@routes.get("/v1/storage/export")
async def export_janroot(request: web.Request) -> web.StreamResponse:
    """The janroot to share or to move, as a zip: no keys, nothing of `.server`; `weights=true` adds models."""
    return await _send_janroot(request, archives_pb2.ARCHIVE_KIND_EXPORT, "janroot-export")


@routes.get("/v1/storage/backup")
async def back_up_janroot(request: web.Request) -> web.StreamResponse:
    """The janroot to keep, as a zip with every file; `weights=true` for those of models, too."""
    return await _send_janroot(request, archives_pb2.ARCHIVE_KIND_BACKUP, "janroot-backup")


async def _send_janroot(
    request: web.Request, kind: archives_pb2.ArchiveKind.ValueType, name: str
) -> web.StreamResponse:
    weights = _flag(request, "weights")
    async with aclosing(request.app[STORAGE].export_janroot(kind, weights=weights)) as parts:
        async for part in parts:
            if part.HasField("summary"):
                break
        headers = {
            "X-Janroot-Total-Bytes": str(part.summary.archive_bytes),
            "X-Janroot-Threads": str(part.summary.threads),
            "X-Janroot-Left-Out": str(part.summary.left_out_count),
        }
        filename = f"{name}-{datetime.now(UTC):%Y-%m-%d}.zip"
        pieces = (part.data async for part in parts)
        return await send_file(request, filename, None, pieces, content_type="application/zip", headers=headers)


async def _pieces(storage: StorageClient, thread_id: ThreadId, wanted: str) -> AsyncGenerator[bytes, None]:
    if wanted == ZIP:
        async with aclosing(storage.export_thread(thread_id)) as parts:
            async for part in parts:
                yield part.data
        return
    thread = await storage.get_thread(thread_id)
    async with aclosing(storage.message_pages(thread_id)) as pages:
        if wanted == JSON:
            shown = as_json.pieces(thread, pages)
        else:
            shown = as_markdown.pieces(thread, pages, lambda message: _file_names(storage, message))
        async for data in shown:
            yield data


async def _file_names(storage: StorageClient, message: messages_pb2.Message) -> Sequence[str]:
    """The names of a message's files that are still there; most messages have none and cost no question."""
    if not message.attachments_json and "file" not in message.content_json:
        return ()
    names: list[str] = []
    after = ""
    while True:
        page = paging_pb2.PageRequest(page_size=MAX_PAGE_SIZE, order=paging_pb2.ORDER_ASC, after=after)
        listed = await storage.list_message_files(message.thread_id, message.id, page)
        names += [file.filename for file in listed.files]
        if not listed.has_more:
            return names
        after = listed.files[-1].id


async def _with_first(first: bytes, rest: AsyncIterable[bytes]) -> AsyncGenerator[bytes, None]:
    yield first
    async for data in rest:
        yield data


def _flag(request: web.Request, name: str) -> bool:
    """A parameter that is `true` or `false`, the default. Raises InvalidArgumentError."""
    text = request.query.get(name, "false")
    if text not in {"true", "false"}:
        raise InvalidArgumentError(f"'{name}' must be 'true' or 'false', not {text[:20]!r}.", param=name)
    return text == "true"

"""Exports, backups and the way back: a thread as a zip, a page or JSON; the whole janroot as a zip."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Sequence
from contextlib import aclosing
from datetime import UTC, datetime

from aiohttp import web

from gateway.convert.times import seconds
from gateway.exports import as_json, as_markdown
from gateway.http.attachments import send_file
from gateway.http.body import json_response
from gateway.http.flags import read_flags
from gateway.http.uploads import DIGEST, IDLE_SECONDS, PIECE_BYTES, UploadDigest
from gateway.keys import STORAGE
from gateway.routes.threads import thread_id_of
from gateway.services.storage import MAX_PAGE_SIZE, StorageClient
from jan.errors import InvalidArgumentError, UnsupportedMediaTypeError
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


# aiohttp's word for a body whose type is not said, as `curl -T` sends it, is the second.
ARCHIVE_TYPES = frozenset({"application/zip", "application/octet-stream"})


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


@routes.post("/v1/storage/restore")
async def restore_janroot(request: web.Request) -> web.Response:
    """Put the backup in the body in the janroot's place, whole; `dry_run=true` checks it only.

    400 for what is no whole backup, 507 without room for it: nothing is changed then. What it replaces goes to the
    trash. Storage starts again before the new janroot is there, in a few seconds.
    """
    dry_run = read_flags(request.query.items(), "dry_run")["dry_run"]
    if request.content_type not in ARCHIVE_TYPES:
        raise UnsupportedMediaTypeError("Send the backup as application/zip.")
    await request.app[STORAGE].check_restore(request.content_length or 0, dry_run=dry_run)
    restored = await request.app[STORAGE].restore_janroot(_backup_parts(request, dry_run=dry_run))
    return json_response(
        {
            "object": "janroot.restore",
            "dry_run": dry_run,
            "created_at": seconds(restored.created_at),
            "threads": restored.threads,
            "files": restored.files,
            "bytes": restored.file_bytes,
            "weights": restored.weights,
            "trash_id": restored.trash_id or None,
        }
    )


async def _backup_parts(
    request: web.Request, *, dry_run: bool
) -> AsyncGenerator[archives_pb2.RestoreJanrootRequest, None]:
    """The body as it comes, in time, then what to do with it."""
    digest = request.get(DIGEST) or UploadDigest()
    while True:
        try:
            async with asyncio.timeout(IDLE_SECONDS):
                data = await request.content.read(PIECE_BYTES)
        except TimeoutError:
            raise InvalidArgumentError("The backup did not arrive in time.", code="incomplete_upload") from None
        except web.RequestPayloadError:
            raise InvalidArgumentError("The backup broke off.", code="incomplete_upload") from None
        if not data:
            break
        digest.add(data)
        yield archives_pb2.RestoreJanrootRequest(data=data)
    yield archives_pb2.RestoreJanrootRequest(end=archives_pb2.EndOfBackup(dry_run=dry_run))


async def _send_janroot(
    request: web.Request, kind: archives_pb2.ArchiveKind.ValueType, name: str
) -> web.StreamResponse:
    weights = read_flags(request.query.items(), "weights")["weights"]
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

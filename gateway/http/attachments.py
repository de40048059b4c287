"""Sending a file's bytes so that no browser runs them: saved as an attachment, never guessed at, in a sandbox.

See docs/security.md S37.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterable, Mapping
from urllib.parse import quote

from aiohttp import web

from gateway.http.errors import error_body
from gateway.http.preconditions import etag
from gateway.http.ranges import Range
from jan.errors import JanError
from jan.storage.v1 import files_pb2

# A reader that takes nothing for so long is gone (docs/promises.md P13).
WRITE_SECONDS = 30.0
_UNPLAIN = re.compile(r"[^A-Za-z0-9 ._-]")


async def send_file(
    request: web.Request,
    filename: str,
    size_bytes: int | None,
    pieces: AsyncIterable[bytes],
    *,
    content_type: str = "",
    headers: Mapping[str, str] | None = None,
    status: int = 200,
) -> web.StreamResponse:
    """Answer with a file, at the reader's pace; `size_bytes` is None for one that is made on the way.

    What goes wrong on the way breaks the connection off, visibly: a file of unknown size lacks its last chunk then.
    """
    response = web.StreamResponse(
        status=status,
        headers={
            "Content-Type": content_type or "application/octet-stream",
            "Content-Disposition": attachment_header(filename),
            "Content-Security-Policy": "sandbox; default-src 'none'",
            **(headers or {}),
        },
    )
    response.content_length = size_bytes
    await response.prepare(request)
    if request.method == "HEAD":
        return response
    try:
        async for data in pieces:
            async with asyncio.timeout(WRITE_SECONDS):
                await response.write(data)
        await response.write_eof()
    except (JanError, TimeoutError) as error:
        raise ConnectionAbortedError("the file could not be sent whole") from error
    return response


async def send_stored(
    request: web.Request,
    wanted: Range | None,
    file: files_pb2.File | files_pb2.MessageFile,
    revision: str,
    pieces: AsyncIterable[bytes],
    *,
    content_type: str = "",
) -> web.StreamResponse:
    """Answer with a stored file, or with the range that was wanted of it, whose bytes `pieces` are; 416 for none."""
    headers = {"Accept-Ranges": "bytes", **etag(revision)}
    span = None if wanted is None else wanted.of(file.size_bytes, revision)
    if span is None:
        return await send_file(
            request, file.filename, file.size_bytes, pieces, content_type=content_type, headers=headers
        )
    if not span:
        body = error_body("The file has no byte of that range.", "invalid_request_error", param="Range")
        headers["Content-Range"] = f"bytes */{file.size_bytes}"
        return web.Response(status=416, body=body, content_type="application/json", headers=headers)
    headers["Content-Range"] = f"bytes {span.start}-{span.stop - 1}/{file.size_bytes}"
    return await send_file(
        request, file.filename, len(span), pieces, content_type=content_type, headers=headers, status=206
    )


def attachment_header(filename: str) -> str:
    """A Content-Disposition that makes a browser save the file, whatever its name holds (RFC 6266, RFC 8187)."""
    plain = "".join(
        letter if letter.isascii() and (letter.isalnum() or letter in " ._-") else "_" for letter in filename
    )
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(filename, safe='')}"

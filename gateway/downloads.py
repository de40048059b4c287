"""Sending a file's bytes so that no browser runs them: saved as an attachment, never guessed at, in a sandbox.

See docs/security.md S37.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterable, Mapping
from urllib.parse import quote

from aiohttp import web

from jan.errors import JanError

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
) -> web.StreamResponse:
    """Answer with a file, at the reader's pace; `size_bytes` is None for one that is made on the way.

    What goes wrong on the way breaks the connection off, visibly: a file of unknown size lacks its last chunk then.
    """
    response = web.StreamResponse(
        headers={
            "Content-Type": content_type or "application/octet-stream",
            "Content-Disposition": attachment_header(filename),
            "Content-Security-Policy": "sandbox; default-src 'none'",
            **(headers or {}),
        }
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


def attachment_header(filename: str) -> str:
    """A Content-Disposition that makes a browser save the file, whatever its name holds (RFC 6266, RFC 8187)."""
    plain = "".join(
        letter if letter.isascii() and (letter.isalnum() or letter in " ._-") else "_" for letter in filename
    )
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(filename, safe='')}"

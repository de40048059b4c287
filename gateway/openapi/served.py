"""The document as it is sent: made once, when the first reader asks."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass

import orjson
from aiohttp import web

from gateway.openapi.document import document


@dataclass(frozen=True, slots=True)
class Written:
    """The bytes, and the tag that stays while they do."""

    body: bytes
    revision: str


class ServedDocument:
    """The document of one application."""

    def __init__(self, app: web.Application) -> None:
        self._app = app
        self._making = asyncio.Lock()
        self._written: Written | None = None

    async def written(self) -> Written:
        """The document; the first call takes a second, in a thread."""
        async with self._making:
            if self._written is None:
                self._written = await asyncio.to_thread(self._write)
        return self._written

    def _write(self) -> Written:
        body = orjson.dumps(document(self._app))
        return Written(body, hashlib.sha256(body).hexdigest()[:32])

"""The lines of a batch's input file, a piece of the file at a time: it may be far larger than memory should be."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from gateway.http.body import MAX_JSON_BYTES
from gateway.services.storage import StorageClient
from jan.storage.v1 import files_pb2

PIECE_BYTES = 1024 * 1024
# Of one request, as where it is sent by itself.
MAX_LINE_BYTES = MAX_JSON_BYTES
# Others have their turn after so many lines: a piece may hold tens of thousands.
_IN_A_ROW = 64


@dataclass(frozen=True, slots=True)
class Line:
    """One line that is not blank. `number` counts all lines from 1; `data` is None for one that is too long."""

    number: int
    data: bytes | None


async def read_lines(storage: StorageClient, file_id: str) -> AsyncGenerator[Line, None]:
    """Every line that holds something. Close the generator. Raises NotFoundError: the file is gone.

    Each piece is a call of its own, so the reader may take hours over it.
    """
    offset = number = 0
    rest = b""
    is_too_long = False
    while piece := await _piece(storage, file_id, offset):
        offset += len(piece)
        *whole, rest = (rest + piece).split(b"\n")
        for data in whole:
            number += 1
            if number % _IN_A_ROW == 0:
                await asyncio.sleep(0)
            if data.strip() or is_too_long:
                yield Line(number, None if is_too_long or len(data) > MAX_LINE_BYTES else data)
            is_too_long = False
        if len(rest) > MAX_LINE_BYTES:
            is_too_long, rest = True, b""
    if rest.strip() or is_too_long:
        yield Line(number + 1, None if is_too_long else rest)


async def _piece(storage: StorageClient, file_id: str, offset: int) -> bytes:
    wanted = files_pb2.ByteRange(offset=offset, length=PIECE_BYTES)
    async with aclosing(storage.read_file(file_id, wanted)) as parts:
        return b"".join([part.data async for part in parts])

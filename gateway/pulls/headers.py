"""What a model says of itself before it is downloaded: the heads of its files, asked for in parts, and never believed.

A header is read by the same readers that look at files on the disk, against the whole file's length; so it may lie no
more from afar than it may here. Of a hundred gigabytes a few megabytes are fetched.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable
from typing import BinaryIO, TypeVar

from gateway.fetching.fetch import Ask, Fetcher
from gateway.pulls.at_once import at_once
from gateway.pulls.hub import Hub
from gateway.pulls.plan import LIMITS, Plan
from jan.errors import FailedPreconditionError
from jan.formats.config import MAX_CONFIG_BYTES, describe_config, parse_config
from jan.formats.description import LyingHeaderError, ModelDescription
from jan.formats.gguf import describe_gguf, read_gguf
from jan.formats.safetensors import read_safetensors
from jan.storage.v1 import pulls_pb2

HeaderT = TypeVar("HeaderT")

FIRST_BYTES = 256 * 1024
# Vocabularies of half a million texts and tensors by the ten thousand fit several times.
MOST_BYTES = 64 * 1024 * 1024


class HeaderReader:
    """Reads the headers of files that are elsewhere."""

    def __init__(self, fetcher: Fetcher, hub: Hub) -> None:
        self._fetcher = fetcher
        self._hub = hub

    async def describe(self, plan: Plan) -> ModelDescription:
        """The model that a plan would download.

        Raises FailedPreconditionError: a header cannot be true, or is not there. InvalidArgumentError and
        PermissionDeniedError as `Fetcher.open`.
        """
        weights = [file for file in plan.files if file.name.endswith((".gguf", ".safetensors"))]
        try:
            if plan.format == "gguf":
                first, *others = await at_once([self._header(file, read_gguf) for file in weights], "header")
                return describe_gguf(first, sum(header.tensor_bytes for header in others))
            config = parse_config(await self._config(plan))
            sizes = await at_once([self._header(file, read_safetensors) for file in weights], "header")
            return describe_config(config, sum(sizes))
        except LyingHeaderError as reason:
            raise _unusable(plan.files[0].name, reason) from None

    async def _header(self, file: pulls_pb2.PullFile, reader: Callable[[BinaryIO, int], HeaderT]) -> HeaderT:
        """A file's header, from as much of its beginning as it takes."""
        known, wanted = b"", FIRST_BYTES
        while True:
            more, size = await self._part(file, len(known), wanted)
            known += more
            try:
                return await asyncio.to_thread(reader, _Beginning(known, is_whole=len(known) >= size), size)
            except _MoreNeededError:
                if not more or len(known) >= MOST_BYTES:
                    reason = LyingHeaderError("its header is longer than any model's")
                    raise _unusable(file.name, reason) from None
                wanted = 4 * len(known)
            except LyingHeaderError as reason:
                raise _unusable(file.name, reason) from None

    async def _config(self, plan: Plan) -> bytes:
        file = next((file for file in plan.files if file.name == "config.json"), None)
        if file is None:
            raise FailedPreconditionError("It has no config.json.", code="model_file_missing")
        data, size = await self._part(file, 0, MAX_CONFIG_BYTES)
        if size > MAX_CONFIG_BYTES:
            raise _unusable(file.name, LyingHeaderError("it is larger than any configuration"))
        return data

    async def _part(self, file: pulls_pb2.PullFile, begin: int, end: int) -> tuple[bytes, int]:
        """The bytes from `begin` to `end`, fewer at the end of the file, and the whole file's length."""
        ask = Ask(file.url, offset=begin, length=end - begin, token=self._hub.token_for(file.url))
        async with self._fetcher.open(ask, LIMITS) as part:
            size = part.total_bytes if part.total_bytes is not None else file.size_bytes
            if not size:
                raise FailedPreconditionError(f"The server of {file.name} does not tell its size.")
            if part.offset not in (0, begin):
                raise FailedPreconditionError(f"The server of {file.name} sends another part than was asked for.")
            data = bytearray()
            async for piece in part.pieces:
                data += piece
                if part.offset + len(data) >= end:
                    break
            return bytes(data[begin - part.offset : end - part.offset]), size


class _MoreNeededError(Exception):
    """The reader has come to the end of what was fetched."""


class _Beginning(io.BytesIO):
    """The beginning of a file; reading past its end is no end of the file, unless it is whole."""

    def __init__(self, data: bytes, *, is_whole: bool) -> None:
        super().__init__(data)
        self._is_whole = is_whole

    def read(self, size: int | None = -1, /) -> bytes:
        """See io.BytesIO."""
        data = super().read(size)
        if size is not None and len(data) < size and not self._is_whole:
            raise _MoreNeededError
        return data


def _unusable(name: str, reason: LyingHeaderError) -> FailedPreconditionError:
    return FailedPreconditionError(f"{name} is not a usable model: {reason}.", code="model_file_invalid")

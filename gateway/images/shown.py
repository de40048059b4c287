"""From the images that a conversation names to such as engines are told: fetched, read, bounded, written anew.

Engines fetch nothing themselves. Addresses are asked by the guarded client (`gateway/fetching/`), uploads are read from
storage, and everything goes through the one reader; see docs/security.md S18.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from typing import Any

from gateway.fetching.fetch import Fetcher, Limits
from gateway.images.bounds import (
    MAX_IMAGE_BYTES,
    MAX_IMAGES,
    MAX_SENT_BYTES,
    NOT_FETCHED,
    NOT_FOUND,
    TOO_MANY,
    TOO_MANY_BYTES,
    WRONG_URL,
)
from gateway.images.places import IMAGE_FILE, IMAGE_URL, OF_MESSAGE, most_image_tokens, places_of
from gateway.images.reading import ImageReader, bytes_of, too_many_bytes
from gateway.services.storage import StorageClient
from jan.errors import InvalidArgumentError, JanError, NotFoundError, PermissionDeniedError
from jan.ids import FileId

JsonObject = dict[str, Any]

_LIMITS = Limits(MAX_IMAGE_BYTES, total_seconds=30.0, piece_seconds=10.0)
_CODES = {"invalid_url": WRONG_URL, "download_too_large": TOO_MANY_BYTES}


class Images:
    """Shows images to engines. One for a gateway, since it bounds how many are read at once."""

    def __init__(self, fetcher: Fetcher, storage: StorageClient) -> None:
        self._fetcher = fetcher
        self._storage = storage
        self._reader = ImageReader()

    async def shown(
        self, messages: Sequence[JsonObject], names: Sequence[str], *, fetches: bool = True
    ) -> list[JsonObject]:
        """The messages with every image as a data URL; one after the other, so that few lie in memory.

        names: what the request calls each image, in order. fetches: False leaves what has an address, a data URL's too,
        as it is, for the server of a remote model. Raises InvalidArgumentError, PermissionDeniedError: an
        image cannot be shown; `param` says which.
        """
        places = places_of(messages)
        if len(places) > MAX_IMAGES:
            message = f"The request shows {len(places)} images; {MAX_IMAGES} are the most."
            raise InvalidArgumentError(message, param=names[MAX_IMAGES], code=TOO_MANY)
        told = [{**message} for message in messages]
        sent_bytes = 0
        for (place, number), name in zip(places, names, strict=True):
            if told[place]["content"] is messages[place]["content"]:
                told[place]["content"] = [*messages[place]["content"]]
            try:
                part = await self.part(messages[place]["content"][number], fetches=fetches)
            except JanError as error:
                raise type(error)(error.message, code=error.code, param=name) from None
            told[place]["content"][number] = part
            sent_bytes += len(part[IMAGE_URL]["url"])
            if sent_bytes > MAX_SENT_BYTES:
                message = f"The images are more than {MAX_SENT_BYTES // 1024 // 1024} MiB together; send fewer."
                raise InvalidArgumentError(message, param=name, code=TOO_MANY_BYTES)
        return told

    async def shown_of_thread(
        self, messages: Sequence[JsonObject], instead: str, names: Sequence[str] = (), *, fetches: bool = True
    ) -> list[JsonObject]:
        """The same for a thread, whose addresses may lead nowhere any more, and whose images may be too many.

        Those of the newest message with any must be shown, unless it was answered; of others as many as may be, the
        newer first. For the rest the model is told `instead`. names: what a request calls the last of the images, those
        that came with it. fetches: see `shown`. Raises as `shown`, for those that must be.
        """
        told = [{**message} for message in messages]
        places = places_of(messages)
        answered = max((place for place, message in enumerate(messages) if message["role"] == "assistant"), default=-1)
        newest = [place for place in places if place[0] == places[-1][0] > answered]
        called = [*[""] * len(newest), *names][-len(newest) :]
        seen = await self.shown([messages[newest[0][0]]], called, fetches=fetches) if newest else []
        if newest:
            told[newest[0][0]] = seen[0]
        count, sent_bytes = len(newest), sum(most_image_tokens([message])[1] for message in seen)
        for place, number in reversed(places[: len(places) - len(newest)]):
            part: JsonObject = {"type": "text", "text": instead}
            if count < MAX_IMAGES and sent_bytes < MAX_SENT_BYTES:
                with contextlib.suppress(InvalidArgumentError, PermissionDeniedError):
                    part = await self.part(messages[place]["content"][number], fetches=fetches)
                    count, sent_bytes = count + 1, sent_bytes + len(part[IMAGE_URL]["url"])
            if told[place]["content"] is messages[place]["content"]:
                told[place]["content"] = [*messages[place]["content"]]
            told[place]["content"][number] = part
        return told

    async def part(self, part: Mapping[str, Any], *, fetches: bool = True) -> JsonObject:
        """One part of a message, of type `image_url` or `image_file`, for an engine. Raises as `shown`, but for param.

        fetches: see `shown`. UnavailableError: storage does not answer.
        """
        if not fetches and part["type"] == IMAGE_URL:
            return {**part}
        source = part[part["type"]]
        detail = source.get("detail") or "auto"
        data = await self._data(part["type"], source)
        return {"type": IMAGE_URL, IMAGE_URL: {"url": await self._reader.data_url(data, detail), "detail": detail}}

    async def _data(self, kind: str, source: Mapping[str, Any]) -> bytes:
        if kind == IMAGE_FILE:
            return await self._stored(str(source.get("file_id")), source.get(OF_MESSAGE))
        url = str(source.get("url"))
        if url[:5].lower() == "data:":
            return await asyncio.to_thread(bytes_of, url)
        return await self._fetched(url)

    async def _stored(self, name: str, message: tuple[str, str] | None) -> bytes:
        """The bytes of a message's file, which may be one that Jan kept in the thread's folder; else of an upload."""
        data = bytearray()
        try:
            pieces = (
                self._storage.read_message_file(*message, name)
                if message
                else self._storage.read_file(FileId.parse(name))
            )
            async with aclosing(pieces):
                async for piece in pieces:
                    data += piece.data
                    if len(data) > MAX_IMAGE_BYTES or piece.file.size_bytes > MAX_IMAGE_BYTES:
                        raise too_many_bytes()
        except NotFoundError:
            raise _no_file(name) from None
        except InvalidArgumentError as error:
            raise error if error.code == TOO_MANY_BYTES else _no_file(name) from None
        return bytes(data)

    async def _fetched(self, url: str) -> bytes:
        """What lies at an address. PermissionDeniedError says what the administrator can set."""
        try:
            return await self._fetcher.whole(url, _LIMITS)
        except InvalidArgumentError as error:
            message = f"The image cannot be fetched. {error.message}"
            raise InvalidArgumentError(message, code=_CODES.get(error.code, NOT_FETCHED)) from None
        except JanError as error:
            raise type(error)(f"The image cannot be fetched. {error.message}", code=error.code) from None


def _no_file(name: str) -> InvalidArgumentError:
    return InvalidArgumentError(f"There is no uploaded image '{name[:100]}'.", code=NOT_FOUND)

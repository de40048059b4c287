"""Reading a batch's input through before anything of it is done: what is wrong, or how many requests there are."""

from __future__ import annotations

import hashlib
from contextlib import aclosing
from dataclasses import dataclass

from gateway.batches.lines import read_lines
from gateway.batches.requests import MESSAGES, read_request
from gateway.http.json_bounds import check_countable
from gateway.schemas import anthropic_batches
from gateway.schemas.common import JsonObject
from gateway.services.storage import StorageClient
from jan.errors import InvalidArgumentError

MAX_REQUESTS = 50_000  # OpenAI's
MAX_MESSAGES = anthropic_batches.MAX_REQUESTS
# Enough to see what is wrong with a file.
MAX_ERRORS = 100


@dataclass(frozen=True, slots=True)
class Examined:
    """An input that was read through. model: what all of its requests name; empty when they do not agree."""

    total: int
    model: str
    errors: tuple[JsonObject, ...]


async def examine(storage: StorageClient, file_id: str, endpoint: str) -> Examined:
    """Look at every line, and stop at so many errors. Raises NotFoundError: the file is gone."""
    total, most = 0, MAX_MESSAGES if endpoint == MESSAGES else MAX_REQUESTS
    models: set[str] = set()
    seen: set[bytes] = set()
    errors: list[JsonObject] = []
    async with aclosing(read_lines(storage, file_id)) as lines:
        async for line in lines:
            total += 1
            try:
                await check_countable(line.data or b"")
                request = read_request(line.data, endpoint)
                _check_new(request.custom_id, seen)
            except InvalidArgumentError as error:
                errors.append(_told(error, line.number))
            else:
                if len(models) < 2:
                    models.add(request.model)
            if total > most:
                message = f"A batch may have at most {most} requests."
                errors.append(_told(InvalidArgumentError(message, code="too_many_requests"), line.number))
            if len(errors) >= MAX_ERRORS or total > most:
                break
    if not total:
        errors.append(_told(InvalidArgumentError("The input file holds no requests.", code="empty_file"), None))
    return Examined(total, models.pop() if len(models) == 1 else "", tuple(errors))


def _check_new(custom_id: str, seen: set[bytes]) -> None:
    digest = hashlib.sha256(custom_id.encode("utf-8", "surrogatepass")).digest()[:16]
    if digest in seen:
        raise InvalidArgumentError(
            f"The custom_id for this request is a duplicate of another request: {custom_id[:64]!r}. It must be unique "
            "for each request in a batch.",
            param="custom_id",
            code="duplicate_custom_id",
        )
    seen.add(digest)


def _told(error: InvalidArgumentError, line: int | None) -> JsonObject:
    return {"code": error.code, "message": error.message, "param": error.param or None, "line": line}

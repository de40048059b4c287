"""The one door for JSON from strangers, and the way JSON leaves.

Refused before anything else sees it: other content types, bodies over the limit, deep nesting, NaN and Infinity,
duplicate keys, unpaired surrogates, invalid UTF-8, endless numbers, countless values (docs/security.md S35).
"""

from __future__ import annotations

import asyncio
import math
from typing import Any, TypeVar

import jiter
import orjson
from aiohttp import web
from pydantic import BaseModel, ValidationError

from gateway.http.json_bounds import check_countable
from gateway.http.refusals import refusal_of
from gateway.http.wording import MAX_ECHO
from jan.errors import InvalidArgumentError, UnsupportedMediaTypeError

MAX_JSON_BYTES = 32 * 1024 * 1024
# A body of that size passes in this time at 9 Mbit/s; who sends a byte a second is let go.
BODY_SECONDS = 30.0

ModelT = TypeVar("ModelT", bound=BaseModel)


async def read_body(request: web.Request, model: type[ModelT]) -> ModelT:
    """Read and check a request's JSON body; an empty body reads as `{}`.

    Raises InvalidArgumentError, naming the field at fault; UnsupportedMediaTypeError; web.HTTPRequestEntityTooLarge.
    """
    data = await _read_json_bytes(request)
    await check_countable(data)
    return validate(parse_json_object(data), model)


def parse_json_object(data: bytes) -> dict[str, Any]:
    """Parse a strict JSON object, which `check_countable` has looked at. Raises InvalidArgumentError."""
    value = parse_json(data)
    if not isinstance(value, dict):
        raise InvalidArgumentError("The JSON body of your request must be an object.")
    return value


def parse_json(data: bytes) -> Any:
    """Parse strict JSON, as above. Raises InvalidArgumentError."""
    try:
        value = jiter.from_json(data, allow_inf_nan=False, catch_duplicate_keys=True, partial_mode="off")
    except ValueError as error:
        reason = str(error)[:MAX_ECHO]
        raise InvalidArgumentError(f"We could not parse the JSON body of your request: {reason}.") from None
    _check_writable(value)
    return value


def validate(value: dict[str, Any], model: type[ModelT]) -> ModelT:
    """Check a parsed object against a schema. Raises InvalidArgumentError for the first field at fault."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise refusal_of(error) from None


def json_response(value: Any, *, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """An answer in JSON."""
    return web.Response(body=orjson.dumps(value), status=status, content_type="application/json", headers=headers)


async def _read_json_bytes(request: web.Request) -> bytes:
    data = await read_bytes(request)
    if not data:
        return b"{}"
    check_is_json(request)
    return data


def check_is_json(request: web.Request) -> None:
    """Raises UnsupportedMediaTypeError: the body says that it is something else."""
    if request.content_type != "application/json" and not request.content_type.endswith("+json"):
        # A web page may send text/plain anywhere without asking first (docs/security.md S4).
        raise UnsupportedMediaTypeError("Send the body as Content-Type: application/json.")


async def read_bytes(request: web.Request) -> bytes:
    """The whole body, which aiohttp keeps, so it may be read again.

    Raises InvalidArgumentError: it is not encoded as it says, or does not come; web.HTTPRequestEntityTooLarge.
    """
    try:
        async with asyncio.timeout(BODY_SECONDS):
            return await request.read()
    except TimeoutError:
        raise InvalidArgumentError(f"The request body did not arrive within {BODY_SECONDS:.0f} seconds.") from None
    except web.RequestPayloadError:
        raise InvalidArgumentError("The request body is not encoded as its headers say.") from None


def _check_writable(value: Any) -> None:
    """Refuse what could be read but not written again, to a file or an engine: numbers beyond 64 bits.

    Whole ones do not fit orjson; others, such as 1e999, are read as infinity and would be written as null.
    """
    try:
        written = orjson.dumps(value)
    except orjson.JSONEncodeError:
        raise _beyond_64_bits() from None
    # Cheap first: an infinity is written as null.
    if b"null" in written and _holds_infinity(value):
        raise _beyond_64_bits()


def _holds_infinity(value: Any) -> bool:
    match value:
        case float():
            return math.isinf(value)
        case dict():
            return any(map(_holds_infinity, value.values()))
        case list():
            return any(map(_holds_infinity, value))
        case _:
            return False


def _beyond_64_bits() -> InvalidArgumentError:
    return InvalidArgumentError("The JSON body of your request holds a number beyond 64 bits.")

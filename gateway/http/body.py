"""The one door for JSON from strangers, and the way JSON leaves.

Refused before anything else sees it: other content types, bodies over the limit, deep nesting, NaN and Infinity,
duplicate keys, unpaired surrogates, invalid UTF-8, endless numbers (docs/security.md S35).
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from typing import Any, TypeVar

import jiter
import orjson
from aiohttp import web
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from jan.errors import InvalidArgumentError, UnsupportedMediaTypeError

MAX_JSON_BYTES = 32 * 1024 * 1024
# A body of that size passes in this time at 9 Mbit/s; who sends a byte a second is let go.
BODY_SECONDS = 30.0
# How much of a stranger's text an error repeats.
MAX_ECHO = 200

ModelT = TypeVar("ModelT", bound=BaseModel)

_UNKNOWN = "extra_forbidden"
# What pydantic puts in front of a message that is a schema's own.
_OUR_OWN = "Value error, "
# pydantic's reasons that OpenAI has a code for.
_CODES = {
    "missing": "missing_required_parameter",
    "greater_than": "integer_below_min_value",
    "greater_than_equal": "integer_below_min_value",
    "less_than": "integer_above_max_value",
    "less_than_equal": "integer_above_max_value",
    "string_too_long": "string_above_max_length",
    "string_too_short": "empty_string",
    "too_long": "array_above_max_length",
    "too_short": "empty_array",
    "literal_error": "invalid_value",
    _UNKNOWN: "unknown_parameter",
    **{code: code for code in ("invalid_function_parameters", "unsupported_content", "unsupported_parameter")},
}


async def read_body(request: web.Request, model: type[ModelT]) -> ModelT:
    """Read and check a request's JSON body; an empty body reads as `{}`.

    Raises InvalidArgumentError, naming the field at fault; UnsupportedMediaTypeError; web.HTTPRequestEntityTooLarge.
    """
    return validate(parse_json_object(await _read_json_bytes(request)), model)


def parse_json_object(data: bytes) -> dict[str, Any]:
    """Parse a strict JSON object. Raises InvalidArgumentError."""
    try:
        value = jiter.from_json(data, allow_inf_nan=False, catch_duplicate_keys=True, partial_mode="off")
    except ValueError as error:
        reason = str(error)[:MAX_ECHO]
        raise InvalidArgumentError(f"We could not parse the JSON body of your request: {reason}.") from None
    if not isinstance(value, dict):
        raise InvalidArgumentError("The JSON body of your request must be an object.")
    _check_writable(value)
    return value


def validate(value: dict[str, Any], model: type[ModelT]) -> ModelT:
    """Check a parsed object against a schema. Raises InvalidArgumentError for the first field at fault."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        first = _at_fault(error.errors(include_url=False, include_context=False, include_input=False))
        param = _param(first["loc"], is_sent=first["type"] == _UNKNOWN)[:MAX_ECHO]
        told = first["msg"].removeprefix(_OUR_OWN)
        reason = f"Invalid '{param}': {told}." if param else f"{told}."
        raise InvalidArgumentError(
            f"Unknown parameter: '{param}'." if first["type"] == _UNKNOWN else reason,
            param=param,
            code=_CODES.get(first["type"], "invalid_type" if first["type"].endswith("_type") else "invalid_value"),
        ) from None


def json_response(value: Any, *, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """An answer in JSON."""
    return web.Response(body=orjson.dumps(value), status=status, content_type="application/json", headers=headers)


async def _read_json_bytes(request: web.Request) -> bytes:
    data = await read_bytes(request)
    if not data:
        return b"{}"
    if request.content_type != "application/json" and not request.content_type.endswith("+json"):
        # A web page may send text/plain anywhere without asking first (docs/security.md S4).
        raise UnsupportedMediaTypeError("Send the body as Content-Type: application/json.")
    return data


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


def _check_writable(value: dict[str, Any]) -> None:
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


def _at_fault(errors: Sequence[ErrorDetails]) -> ErrorDetails:
    """The first error; but where a field is missing beside one that nobody knows, it was misspelt."""
    first = errors[0]
    if first["type"] != "missing":
        return first
    beside = (one for one in errors if one["type"] == _UNKNOWN and one["loc"][:-1] == first["loc"][:-1])
    return next(beside, first)


def _param(location: tuple[int | str, ...], *, is_sent: bool) -> str:
    """`messages[0].role` from pydantic's location, without the names of union branches.

    is_sent: the last part is a name out of the request, so it is told however it looks.
    """
    path = ""
    for place, part in enumerate(location, 1):
        if isinstance(part, int):
            path += f"[{part}]"
        elif (part.isidentifier() and part[0].islower()) or (is_sent and place == len(location)):
            path += f".{part}" if path else part
    return path

"""JSON as this store reads and writes it: what is read can be written again.

orjson reads 1,024 levels and writes 254. A file of a stranger that was read and could not be written again would take
its neighbours along: the other messages of its thread, its import, what others append in the same write.
"""

from typing import Any

import orjson

from jan.errors import InvalidArgumentError
from storage_service.store.records import JsonObject

MAX_LEVELS = 240
"""How deep a value may be nested: what orjson writes, less some for the answers that it stands in."""
_WRITABLE_LEVELS = 254

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def loads(data: bytes) -> Any:
    """A JSON value. Raises ValueError: it is not JSON, or nested too deep to be written again."""
    value = orjson.loads(data.removeprefix(_BYTE_ORDER_MARK))
    if _is_too_deep(value, data):
        raise ValueError(f"nested deeper than {MAX_LEVELS} levels")
    return value


def load_object(data: bytes) -> JsonObject | None:
    """A JSON object; None for everything else."""
    try:
        value = loads(data)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def dumps(value: Any, *, indented: bool = False) -> bytes:
    """A value's text with a newline behind it. Raises InvalidArgumentError: it is nested too deep."""
    option = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE if indented else orjson.OPT_APPEND_NEWLINE
    try:
        data = orjson.dumps(value, option=option)
    except orjson.JSONEncodeError:
        raise _too_deep() from None
    if _is_too_deep(value, data):
        raise _too_deep()
    return data


def _is_too_deep(value: Any, data: bytes) -> bool:
    # Cheap first: every level takes a bracket, and hardly any text has so many.
    if data.count(b"{") + data.count(b"[") <= MAX_LEVELS:
        return False
    for _ in range(_WRITABLE_LEVELS - MAX_LEVELS):
        value = [value]
    try:
        orjson.dumps(value)
    except orjson.JSONEncodeError:
        return True
    return False


def _too_deep() -> InvalidArgumentError:
    return InvalidArgumentError(f"An object may be nested at most {MAX_LEVELS} levels deep.", code="nested_too_deep")

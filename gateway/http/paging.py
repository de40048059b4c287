"""Listing parameters in, OpenAI's list envelope out."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from aiohttp import web

from gateway.http import wording
from jan.errors import InvalidArgumentError
from jan.ids import Id
from jan.storage.v1 import paging_pb2

DEFAULT_LIMIT = 20
MAX_LIMIT = 100

_WHOLE = re.compile(r"-?[0-9]{1,18}")
_ORDERS = {"asc": paging_pb2.ORDER_ASC, "desc": paging_pb2.ORDER_DESC}


def read_page(
    request: web.Request,
    cursor_type: type[Id],
    *,
    default_limit: int = DEFAULT_LIMIT,
    max_limit: int = MAX_LIMIT,
    default_order: str = "desc",
) -> paging_pb2.PageRequest:
    """Read `limit order after before` from the query. Raises InvalidArgumentError, naming the parameter at fault."""
    order = request.query.get("order") or default_order
    if order not in _ORDERS:
        raise InvalidArgumentError(wording.unsupported_value(order, _ORDERS), param="order", code="invalid_value")
    return paging_pb2.PageRequest(
        page_size=read_limit(request.query.get("limit"), default_limit, max_limit),
        order=_ORDERS[order],
        after=_read_cursor(request, "after", cursor_type),
        before=_read_cursor(request, "before", cursor_type),
    )


def list_envelope(objects: Sequence[dict[str, Any]], *, has_more: bool) -> dict[str, Any]:
    """OpenAI's list object; the ids are null for an empty page, as the live service answers."""
    return {
        "object": "list",
        "data": list(objects),
        "first_id": objects[0]["id"] if objects else None,
        "last_id": objects[-1]["id"] if objects else None,
        "has_more": has_more,
    }


def read_limit(text: str | None, default: int, most: int) -> int:
    """Read `limit`. Raises InvalidArgumentError: it is out of bounds."""
    if not text:
        return default
    if not _WHOLE.fullmatch(text):
        raise InvalidArgumentError(wording.wrong_type("limit", "an integer", text), param="limit", code="invalid_type")
    limit = int(text)
    if limit < 1:
        message = wording.out_of_bounds("limit", "integer below minimum value", ">=", 1, limit)
        raise InvalidArgumentError(message, param="limit", code="integer_below_min_value")
    if limit > most:
        message = wording.out_of_bounds("limit", "integer above maximum value", "<=", most, limit)
        raise InvalidArgumentError(message, param="limit", code="integer_above_max_value")
    return limit


def _read_cursor(request: web.Request, name: str, cursor_type: type[Id]) -> str:
    text = request.query.get(name)
    if not text:
        return ""
    try:
        return cursor_type.parse(text)
    except InvalidArgumentError as error:
        raise InvalidArgumentError(error.message, param=name) from None


def page_of(
    objects: Sequence[dict[str, Any]],
    page: paging_pb2.PageRequest,
    *,
    names: tuple[str, str] = ("after", "before"),
) -> tuple[Sequence[dict[str, Any]], bool]:
    """A page of objects that are all here, oldest first, and whether more follow; storage pages what it keeps.

    names: what the request calls its cursors. Raises InvalidArgumentError: a cursor names none of the objects.
    """
    in_order = objects if page.order == paging_pb2.ORDER_ASC else objects[::-1]
    places = {one["id"]: place for place, one in enumerate(in_order)}
    first, last = 0, len(in_order)
    if page.after:
        first = _place_of(places, names[0], page.after) + 1
    if page.before:
        last = _place_of(places, names[1], page.before)
    if page.before and not page.after:
        start = max(0, last - page.page_size)
        return in_order[start:last], start > 0
    end = min(last, first + page.page_size)
    return in_order[first:end], end < last


def _place_of(places: Mapping[str, int], name: str, cursor: str) -> int:
    if cursor not in places:
        raise InvalidArgumentError(f"No item with id '{cursor[:100]}' in this list.", param=name)
    return places[cursor]

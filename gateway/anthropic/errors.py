"""Errors on Anthropic's routes, in Anthropic's form."""

from __future__ import annotations

import orjson
from aiohttp import web

from gateway.anthropic.error_form import anthropics_status, error_object, told_object
from gateway.anthropic.routes import is_anthropics
from gateway.http.errors import room_of
from gateway.http.rate_limits import RATE_LIMIT_HEADERS, anthropic_rate_limit_headers
from gateway.keys import REQUEST_ID
from jan.errors import JanError


def in_anthropics_form(request: web.Request, response: web.Response, error: JanError | None = None) -> web.Response:
    """An answer in OpenAI's form that says what failed, in Anthropic's if the request is Anthropic's.

    error: what it tells of, for the headers that Anthropic calls otherwise. The others are kept.
    """
    if not is_anthropics(request):
        return response
    assert isinstance(response.body, bytes)
    told = orjson.loads(response.body)["error"]
    response.set_status(anthropics_status(response.status))
    form = told_object(request.get(REQUEST_ID), response.status, told["message"], told["param"], told["code"])
    response.body = orjson.dumps(form)
    if error is not None and (room := room_of(error)) is not None:
        for name in RATE_LIMIT_HEADERS:
            response.headers.pop(name, None)
        response.headers.update(anthropic_rate_limit_headers(room))
    return response


def error_data(request: web.Request, error: JanError) -> bytes:
    """The data of an `error` event in mid-stream."""
    return orjson.dumps(error_object(error, request.get(REQUEST_ID)))

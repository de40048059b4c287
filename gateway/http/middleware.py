"""What happens around every handler: request id, guard, the single catch, access log and metrics.

Decisions are made on the matched route and on headers, never on `request.url`, which a client can lie in
(docs/security.md S7).
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

from aiohttp import web

from gateway.anthropic.errors import in_anthropics_form
from gateway.anthropic.routes import check_served
from gateway.http import guard
from gateway.http.credentials import sent_key
from gateway.http.errors import error_response, framework_error_response
from gateway.http.retries import SHOULD_RETRY, must_not_retry
from gateway.keys import LEAVING, METRICS, REQUEST_ID, SETTINGS, STARTED, TURNS
from jan.errors import InternalError, JanError
from jan.ids import RequestId
from jan.telemetry import get_logger, request_id_var

logger = get_logger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
# OpenAI's API version; clients read it, nothing depends on it.
OPENAI_VERSION = "2020-10-01"


@web.middleware
async def observe(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Give the request its id, and leave a line in the log and a mark in the metrics when it is over."""
    request[REQUEST_ID] = RequestId.new()
    request[STARTED] = time.monotonic()
    token = request_id_var.set(request[REQUEST_ID])
    status = 499  # the client left: nginx's code, for the log only
    try:
        response = await handler(request)
        status = response.status
        return response
    finally:
        seconds = time.monotonic() - request[STARTED]
        route = route_name(request)
        request.app[METRICS].observe_request(request.method, route, status, seconds)
        logger.info("request", method=request.method, route=route, status=status, ms=round(seconds * 1000, 1))
        request_id_var.reset(token)


@web.middleware
async def catch(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn whatever was raised into OpenAI's error body, or Anthropic's on its routes.

    What nobody foresaw is logged and told without our insides.
    """
    try:
        return await handler(request)
    except JanError as error:
        return _told(request, error)
    except web.HTTPException as error:
        return in_anthropics_form(request, framework_error_response(error, request))
    except ConnectionError:
        raise  # the client left: there is nobody to answer
    except Exception:
        logger.exception("request failed", method=request.method, route=route_name(request))
        return _told(request, InternalError("The server had an error while processing your request."))


def _told(request: web.Request, error: JanError) -> web.Response:
    response = error_response(error)
    if must_not_retry(request, error):
        response.headers[SHOULD_RETRY] = "false"
    return in_anthropics_form(request, response, error)


@web.middleware
async def protect(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse hosts, origins and keys that may not come in, and what is not here, before the body is read."""
    guard.check(request.app[SETTINGS], request)
    check_served(request)
    return await handler(request)


@web.middleware
async def take_turns(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Begin when it is this person's turn: see `Turns`."""
    await request.app[TURNS].wait(sent_key(request) or request.remote or "")
    return await handler(request)


async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Put OpenAI's headers on every answer, streams included; called as it is about to be sent."""
    # What aiohttp refuses by itself (an unknown `Expect`) has not been through `observe`.
    request_id = request.get(REQUEST_ID) or RequestId.new()
    response.headers["x-request-id"] = request_id
    response.headers["request-id"] = request_id  # Anthropic's name for it
    response.headers["openai-version"] = OPENAI_VERSION
    started = request.get(STARTED, time.monotonic())
    response.headers["openai-processing-ms"] = str(int((time.monotonic() - started) * 1000))
    response.headers["X-Content-Type-Options"] = "nosniff"
    if request.app[LEAVING].is_set():
        response.force_close()
        response.headers["Connection"] = "close"


def route_name(request: web.Request) -> str:
    """The pattern of the matched route, `unknown` for none; never the path, which holds ids."""
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else "unknown"

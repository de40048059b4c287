"""The HTTP server around the application: its limits, and OpenAI's error body for what never reaches a handler.

aiohttp answers a request that it cannot parse in plain text, from its protocol class. It has no public place to
change that, so two of its classes are extended here; tests/gateway/http/test_server.py tells when they change.
"""

from __future__ import annotations

import asyncio
import time
from http import HTTPStatus
from typing import Self

from aiohttp import web
from aiohttp.web_protocol import RequestHandler
from aiohttp.web_request import BaseRequest

from gateway.http.errors import error_body
from gateway.keys import LEAVING
from jan.ids import RequestId
from jan.telemetry import get_logger

logger = get_logger(__name__)

# How long open requests may go on after SIGTERM (docs/promises.md P16).
DRAIN_SECONDS = 20.0
# How long open connections may still send a request after SIGTERM.
GRACE_SECONDS = 1.0
# Room for ids that are far too long, so that our own 404 answers them.
MAX_LINE_BYTES = 64 * 1024
# How long the rest of a refused request is read and thrown away, so that its sender sees the answer.
LINGERING_SECONDS = 1.0
# How long a new connection may take to send its first request's head.
HEAD_SECONDS = 15.0


def new_runner(app: web.Application) -> web.AppRunner:
    """A runner for the application, with our limits."""
    # With handler_cancellation a client that leaves cancels its handler, which frees its place in the engine.
    return _Runner(
        app,
        access_log=None,
        handler_cancellation=True,
        shutdown_timeout=DRAIN_SECONDS,
        max_line_size=MAX_LINE_BYTES,
        lingering_time=LINGERING_SECONDS,
    )


async def leave(runner: web.AppRunner, site: web.BaseSite) -> None:
    """Take no more connections, and let those that are open send what they are about to send; their answers close them.

    Without that, a client which connected just before the stop would see its connection break (docs/promises.md P16).
    """
    runner.app[LEAVING].set()
    # What the kernel has accepted is handed over before the socket is closed.
    await asyncio.sleep(0)
    await site.stop()
    give_up_at = time.monotonic() + GRACE_SECONDS
    # aiohttp tells nobody when a connection becomes idle or goes.
    while _has_idle_connections(runner) and time.monotonic() < give_up_at:  # noqa: ASYNC110
        await asyncio.sleep(GRACE_SECONDS / 20)


def _has_idle_connections(runner: web.AppRunner) -> bool:
    return runner.server is not None and any(
        isinstance(connection, _Protocol) and connection.is_idle for connection in runner.server.connections
    )


class _Protocol(RequestHandler):
    """One connection."""

    __slots__ = ("_head_deadline",)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin; a connection on which no whole request head arrives in time is closed (docs/security.md S30)."""
        super().connection_made(transport)
        self._head_deadline = self._loop.call_later(HEAD_SECONDS, self._close_if_silent)

    def connection_lost(self, exc: BaseException | None) -> None:
        """End."""
        self._head_deadline.cancel()
        super().connection_lost(exc)

    @property
    def is_idle(self) -> bool:
        """Whether no request of this connection is in hand."""
        return self._current_request is None

    def _close_if_silent(self) -> None:
        if self._request_count == 0:
            self.force_close()

    def handle_error(
        self, request: BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """Answer what cannot be parsed, and close the connection; see the parent for the rest."""
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR or request.writer.output_size > 0:
            return super().handle_error(request, status, exc, message)
        logger.info("malformed request", status=status, reason=type(exc).__name__)
        body = error_body("The request is not well-formed HTTP.", "invalid_request_error", code="malformed_request")
        response = web.Response(
            status=status,
            body=body,
            content_type="application/json",
            headers={"x-request-id": RequestId.new(), "X-Content-Type-Options": "nosniff"},
        )
        response.force_close()
        return response


class _Server(web.Server):
    """aiohttp's server with our protocol."""

    @classmethod
    def like(cls, server: web.Server) -> Self:
        """The same server as aiohttp made it for the application."""
        made = cls.__new__(cls)
        vars(made).update(vars(server))
        return made

    def __call__(self) -> RequestHandler:
        """Make the protocol for a new connection."""
        return _Protocol(self, loop=self._loop, **self._kwargs)


class _Runner(web.AppRunner):
    """aiohttp's runner with our server."""

    __slots__ = ()

    async def _make_server(self) -> web.Server:
        return _Server.like(await super()._make_server())

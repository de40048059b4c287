"""The HTTP server around the application: its limits, and OpenAI's error body for what never reaches a handler.

aiohttp answers a request that it cannot parse in plain text, from its protocol class. It has no public place to
change that, so two of its classes are extended here; tests/gateway/http/test_server.py tells when they change.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Self

from aiohttp import web
from aiohttp.web_protocol import RequestHandler
from aiohttp.web_request import BaseRequest

from gateway.http.errors import error_body
from gateway.http.middleware import OPENAI_VERSION
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
# How long a request's head may take, the first of a connection from its opening on.
HEAD_SECONDS = 15.0
# A client that takes not one byte of its answer in this time is let go, and what it was to be told with it.
UNREAD_SECONDS = 30.0
# How much the kernel takes of what cannot be sent yet. It would take up to 4 MiB for each client that reads nothing,
# and the gateway would know of none of it.
UNSENT_BYTES = 64 * 1024


def new_runner(app: web.Application) -> web.AppRunner:
    """A runner for the application, with our limits."""
    # With handler_cancellation a client that leaves cancels its handler, which frees its place in the engine.
    return _Runner(
        app,
        access_log=None,
        handler_cancellation=True,
        # aiohttp waits so long twice, before it ends a handler that goes on writing.
        shutdown_timeout=DRAIN_SECONDS / 2,
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


def _bound_unsent(transport: asyncio.BaseTransport) -> None:
    connection = transport.get_extra_info("socket")
    option = getattr(socket, "TCP_NOTSENT_LOWAT", None)  # not on every system
    if option is not None and connection is not None and connection.family in {socket.AF_INET, socket.AF_INET6}:
        connection.setsockopt(socket.IPPROTO_TCP, option, UNSENT_BYTES)


class _Timer:
    """At most one thing to do later."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._handle: asyncio.TimerHandle | None = None

    @property
    def runs(self) -> bool:
        """Whether it was started and not stopped."""
        return self._handle is not None

    def start(self, seconds: float, do: Callable[[], None]) -> None:
        """Do something after so many seconds, and what was to be done before no more."""
        self.stop()
        self._handle = self._loop.call_later(seconds, do)

    def stop(self) -> None:
        """Do nothing."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None


class _Protocol(RequestHandler):
    """One connection."""

    __slots__ = ("_head_deadline", "_unread_check")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin; a connection on which no whole request head arrives in time is closed (docs/security.md S30)."""
        super().connection_made(transport)
        _bound_unsent(transport)
        self._unread_check = _Timer(self._loop)
        self._head_deadline = _Timer(self._loop)
        self._head_deadline.start(HEAD_SECONDS, self.force_close)

    def data_received(self, data: bytes) -> None:
        """Take what came; a head that has begun must be whole in time, on a connection that served others too."""
        heads = self._request_count
        super().data_received(data)
        if self._request_count != heads:
            self._head_deadline.stop()
        elif not self._head_deadline.runs and self._waiter is not None and not self._waiter.done():
            self._head_deadline.start(HEAD_SECONDS, self.force_close)

    def pause_writing(self) -> None:
        """The client leaves unread what it was sent: look later whether it reads at all (docs/promises.md P13)."""
        super().pause_writing()
        self._check_unread_later()

    def resume_writing(self) -> None:
        """The client has read."""
        self._unread_check.stop()
        super().resume_writing()

    def connection_lost(self, exc: BaseException | None) -> None:
        """End."""
        self._head_deadline.stop()
        self._unread_check.stop()
        super().connection_lost(exc)

    @property
    def is_idle(self) -> bool:
        """Whether no request of this connection is in hand."""
        return self._current_request is None

    def _check_unread_later(self) -> None:
        if self.transport is not None:
            unread = self.transport.get_write_buffer_size()
            self._unread_check.start(UNREAD_SECONDS, lambda: self._drop_if_unread(unread))

    def _drop_if_unread(self, unread_before: int) -> None:
        if self.transport is not None and self.transport.get_write_buffer_size() >= unread_before:
            logger.info("client reads nothing", unread_bytes=unread_before)
            self.transport.abort()
        else:
            self._check_unread_later()

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
            headers={
                "x-request-id": RequestId.new(),
                "openai-version": OPENAI_VERSION,
                "openai-processing-ms": "0",
                "X-Content-Type-Options": "nosniff",
            },
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

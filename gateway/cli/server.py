"""The server that the commands talk to."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Self

import aiohttp

from gateway.settings import read_key
from jan.settings import Environment, SettingsError

# An import tells how far it is every now and then.
_SILENCE_SECONDS = 600.0
# A proxy, or a gateway that waits for another service.
_AWAY = (502, 503, 504)
# A report is one line.
_MAX_LINE_BYTES = 64 * 1024 * 1024
# A server that listens on every address is asked on this machine's own.
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104


class ServerError(Exception):
    """Why there is no answer, in a sentence for people. code: the server's, if it refused with one."""

    def __init__(self, message: str, code: str = "") -> None:
        super().__init__(message)
        self.code = code


class ConnectionBrokenError(ServerError):
    """Nobody answers there, or an answer broke off: what was asked for may go on."""


@dataclass(frozen=True, slots=True)
class Server:
    """A server's address, and the key for it; empty for none."""

    url: str
    key: str = field(default="", repr=False)

    @classmethod
    def from_environment(cls, values: Mapping[str, str], url: str | None = None) -> Self:
        """The server that the same settings start, or the one at `url`. Raises ServerError: a bad setting."""
        environment = Environment(values)
        try:
            host = environment.text("JANROOT_BIND", environment.text("JANROOT_HOST", "127.0.0.1"))
            port = environment.integer("JANROOT_PORT", 1337, 1, 65535)
            key = read_key(environment.text("JANROOT_ADMIN_KEY", ""))
        except SettingsError as error:
            raise ServerError(str(error)) from None
        host = _EVERYWHERE.get(host, host)
        return cls(url or f"http://{f'[{host}]' if ':' in host else host}:{port}", key)

    async def get(self, path: str, *, timeout_seconds: float) -> dict[str, Any]:
        """Ask for a JSON object. Raises ServerError."""
        return await self.ask("GET", path, timeout_seconds=timeout_seconds)

    async def ask(
        self,
        method: str,
        path: str,
        body: bytes | AsyncIterator[bytes] | None = None,
        *,
        content_type: str = "",
        timeout_seconds: float | None,
        length: int | None = None,
    ) -> dict[str, Any]:
        """Send a request that a JSON object answers; `length` is the body's, if it is known. Raises ServerError."""
        headers = {"Content-Type": content_type} if content_type else {}
        if length is not None:
            headers["Content-Length"] = str(length)
        async with self._asking(method, path, body, headers, timeout_seconds) as answer:
            value = await answer.json()
        if not isinstance(value, dict):
            raise ServerError(f"{self.url} does not answer as Janroot does: no JSON object came.")
        return value

    @asynccontextmanager
    async def download(self, path: str) -> AsyncIterator[aiohttp.ClientResponse]:
        """Ask for a file, to be read in the context. Raises ServerError, also when it breaks off."""
        async with self._asking("GET", path, None, {}, None) as answer:
            yield answer

    @asynccontextmanager
    async def _asking(
        self,
        method: str,
        path: str,
        body: bytes | AsyncIterator[bytes] | None,
        headers: dict[str, str],
        timeout_seconds: float | None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        timeout = aiohttp.ClientTimeout(total=timeout_seconds)
        try:
            async with (
                aiohttp.ClientSession(headers=self._headers() | headers, timeout=timeout) as session,
                session.request(method, self.url.rstrip("/") + path, data=body) as answer,
            ):
                if answer.status != 200:
                    body = await answer.json()
                    raise ServerError(f"{self.url} answered {answer.status}: {_message(body)}", _code(body))
                yield answer
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            reason = str(error) or "it took too long"
            raise ServerError(f"{self.url} does not answer as Janroot does: {reason}.") from None

    async def events(
        self, path: str, body: AsyncIterator[bytes] | bytes | None = None, content_type: str = ""
    ) -> AsyncGenerator[dict[str, Any], None]:
        """Send a body, if there is one, and read the events that come back, up to `[DONE]`.

        Raises ServerError, also in mid-stream.
        """
        timeout = aiohttp.ClientTimeout(total=None, sock_read=_SILENCE_SECONDS)
        headers = self._headers() | ({"Content-Type": content_type} if content_type else {})
        try:
            async with (
                aiohttp.ClientSession(headers=headers, timeout=timeout, read_bufsize=_MAX_LINE_BYTES) as session,
                session.request("GET" if body is None else "POST", self.url.rstrip("/") + path, data=body) as answer,
            ):
                if answer.status != 200:
                    broken = answer.status in _AWAY
                    raise (ConnectionBrokenError if broken else ServerError)(_message(await answer.json()))
                async for line in answer.content:
                    if line.startswith(b"data: {"):
                        value = json.loads(line.removeprefix(b"data: "))
                        if value.get("error") and "object" not in value:  # objects tell of errors of their own
                            raise ServerError(_message(value))
                        yield value
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            reason = str(error) or "it took too long"
            raise ConnectionBrokenError(f"{self.url} does not answer as Janroot does: {reason}.") from None

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"} if self.key else {}


def _code(body: Any) -> str:
    error = body.get("error") if isinstance(body, dict) else None
    return str(error.get("code") or "") if isinstance(error, dict) else ""


def _message(body: Any) -> str:
    error = body.get("error") if isinstance(body, dict) else None
    return str(error.get("message", "")) if isinstance(error, dict) else "no reason given"

"""Asking an engine over HTTP: one session for each running engine, on its unix socket or its URL."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Any, Self

import aiohttp
import orjson

from inference_service.engines.engine import Connection
from jan.errors import FailedPreconditionError, InternalError, InvalidArgumentError, JanError, UnavailableError

ENGINE_UNREACHABLE = "engine_unreachable"
"""The code of an UnavailableError that says: nothing of the request was answered, it may be asked again."""

_CONNECT_SECONDS = 10.0
_MAX_ERROR_BYTES = 64 * 1024


class EngineClient:
    """An HTTP session with one engine; use it as a context, or `close` it."""

    def __init__(self, connection: Connection) -> None:
        """Nothing is connected before the first request."""
        self._base_url = connection.base_url
        self._session = aiohttp.ClientSession(
            connector=_connector(connection),
            headers=dict(connection.headers),
            # An answer takes as long as it takes: the job's own deadline ends it, not the session.
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS),
            auto_decompress=True,
        )

    async def __aenter__(self) -> Self:
        """The client itself."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close every connection."""
        await self.close()

    async def close(self) -> None:
        """Close every connection; answers that still stream are cut off."""
        await self._session.close()

    async def is_healthy(self) -> bool:
        """Whether the engine answers its health check with 200 now."""
        try:
            async with self._session.get(self._root("/health"), timeout=aiohttp.ClientTimeout(total=2)) as response:
                return response.status == 200
        except (aiohttp.ClientError, TimeoutError, OSError):
            return False

    async def get_json(self, path: str) -> Any:
        """What the engine answers at `path`, which is relative to its root. Raises UnavailableError."""
        try:
            async with self._session.get(self._root(path), timeout=aiohttp.ClientTimeout(total=5)) as response:
                return orjson.loads(await response.read())
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise UnavailableError(f"The engine does not answer {path}: {error}") from error

    @contextlib.asynccontextmanager
    async def chat(self, body: Mapping[str, Any]) -> AsyncIterator[aiohttp.StreamReader]:
        """Ask for a chat completion; the body of a good answer.

        Leaving the context before the answer's end closes the connection, which is how an engine is told to stop.
        Raises InvalidArgumentError: the engine refuses the request. UnavailableError: it cannot be reached, or broke
        off before it answered. InternalError: it failed on the request. aiohttp.ClientError from reading: it broke off.
        """
        data = orjson.dumps(body)
        url = f"{self._base_url}/chat/completions"
        try:
            response = await self._session.post(url, data=data, headers={"Content-Type": "application/json"})
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise UnavailableError(f"The engine cannot be reached: {error}", code=ENGINE_UNREACHABLE) from error
        try:
            if response.status != 200:
                raise error_of(response.status, await response.content.read(_MAX_ERROR_BYTES))
            yield response.content
        finally:
            response.close()

    def _root(self, path: str) -> str:
        return self._base_url.removesuffix("/v1") + path


def error_of(status: int, body: bytes) -> JanError:
    """What an engine's error answer means, in our kinds and OpenAI's codes.

    The engine's own sentence is passed on where the request is at fault, since it says what to change.
    """
    message, error_type, param = _error_fields(body)
    if "context size" in message or "context length" in message or error_type == "exceed_context_size_error":
        return InvalidArgumentError(_context_message(body, message), code="context_length_exceeded", param="messages")
    if status in (401, 403):
        return FailedPreconditionError("The model's server refuses our key.", code="engine_unauthorized")
    if status == 404:
        return FailedPreconditionError(f"The model's server does not know it: {message}", code="engine_not_found")
    if status == 429:
        return UnavailableError("The model's server is busy.", code="engine_busy", retry_after_seconds=5)
    if 400 <= status < 500 or "is not supported" in message:
        return InvalidArgumentError(message or "The engine refuses the request.", param=param)
    if status == 503:
        return UnavailableError(f"The engine is not ready: {message}", code="engine_unavailable", retry_after_seconds=1)
    return InternalError(f"The engine failed on this request: {message}" if message else "The engine failed.")


def _error_fields(body: bytes) -> tuple[str, str, str]:
    """Message, type and param of OpenAI's error object, or of the flat one that some servers answer."""
    try:
        value = orjson.loads(body)
    except ValueError:
        return body[:300].decode("utf-8", "replace"), "", ""
    error = value.get("error", value) if isinstance(value, dict) else value
    if not isinstance(error, dict):
        return str(error)[:1000], "", ""
    return str(error.get("message") or "")[:1000], str(error.get("type") or ""), str(error.get("param") or "")


def _context_message(body: bytes, message: str) -> str:
    """OpenAI's sentence when the engine gave the figures, else the engine's own."""
    try:
        error = orjson.loads(body)["error"]
        limit, asked = error["n_ctx"], error["n_prompt_tokens"]
    except (ValueError, KeyError, TypeError):
        return message
    return (
        f"This model's maximum context length is {limit} tokens. "
        f"However, your messages resulted in {asked} tokens. Please reduce the length of the messages."
    )


def _connector(connection: Connection) -> aiohttp.BaseConnector:
    if connection.socket_path is not None:
        # A new connection costs 0.1 ms; a kept one may be closed by llama.cpp at the moment we write to it.
        return aiohttp.UnixConnector(str(connection.socket_path), limit=0, force_close=True)
    return aiohttp.TCPConnector(limit=0)

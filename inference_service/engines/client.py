"""Asking an engine over HTTP: one session for each running engine, on its unix socket or its URL."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from typing import Any, Self

import aiohttp
import orjson

from inference_service.engines.engine import Connection
from inference_service.engines.errors import error_of
from inference_service.engines.remote_errors import wait_seconds_of
from inference_service.engines.traffic import Question
from jan.errors import InternalError, JanError, UnavailableError

ENGINE_UNREACHABLE = "engine_unreachable"
"""The code of an UnavailableError that says: nothing of the request was answered, it may be asked again."""

ENGINE_STUCK = "engine_stuck"
"""The code of an InternalError that says: asked again, it would stop the engine again."""

_CONNECT_SECONDS = 10.0
_ASKED = {
    "/chat/completions": "messages",
    "/completions": "prompt",
    "/embeddings": "input",
    "/apply-template": "messages",
}
_MAX_ERROR_BYTES = 64 * 1024
_MAX_ANSWER_BYTES = 64 * 1024 * 1024


async def read_whole(content: aiohttp.StreamReader) -> bytes:
    """An answer that comes in one piece. Raises InternalError: it is longer than 64 MiB; aiohttp.ClientError."""
    pieces: list[bytes] = []
    room = _MAX_ANSWER_BYTES
    async for piece in content.iter_any():
        pieces.append(piece)
        if (room := room - len(piece)) < 0:
            raise InternalError(f"The engine's answer is longer than {_MAX_ANSWER_BYTES:,} bytes.")
    return b"".join(pieces)


class EngineClient:
    """An HTTP session with one engine; use it as a context, or `close` it."""

    def __init__(self, connection: Connection) -> None:
        """Nothing is connected before the first request."""
        self._base_url = connection.base_url
        self._is_remote = connection.socket_path is None
        # Some servers repeat the key that they refuse.
        self._secrets = [value.removeprefix("Bearer ").encode() for value in connection.headers.values()]
        self._answers: set[aiohttp.StreamReader] = set()
        self._traffic = connection.traffic
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
        """Close every connection; answers that still stream are cut off.

        Those who read them are told here: aiohttp forgets the reader of a connection that is closed on our side
        (`ResponseHandler.close`, seen with 3.14), and he would wait for ever.
        """
        for content in self._answers:
            content.set_exception(aiohttp.ClientConnectionError("The connection to the engine was closed."))
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
            return orjson.loads(await self.get_text(path))
        except ValueError as error:
            raise UnavailableError("The engine does not answer.", code=ENGINE_UNREACHABLE) from error

    async def get_text(self, path: str) -> str:
        """As `get_json`, as it stands."""
        try:
            async with self._open().get(self._root(path), timeout=aiohttp.ClientTimeout(total=5)) as response:
                return await response.text()
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise UnavailableError("The engine does not answer.", code=ENGINE_UNREACHABLE) from error

    def chat(self, body: Mapping[str, Any]) -> AbstractAsyncContextManager[aiohttp.StreamReader]:
        """Ask for a chat completion; see `ask`."""
        return self.ask("/chat/completions", body)

    def complete(self, body: Mapping[str, Any]) -> AbstractAsyncContextManager[aiohttp.StreamReader]:
        """Ask for a text completion; see `ask`."""
        return self.ask("/completions", body)

    async def embed(self, body: Mapping[str, Any]) -> Any:
        """Ask for embeddings; the parsed answer. Raises as `ask`; ValueError: it is no JSON."""
        async with self.ask("/embeddings", body) as content:
            return orjson.loads(await read_whole(content))

    async def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """What the engine answers to a question of its own kind at `path`, which is relative to its root.

        Raises as `ask`.
        """
        async with self._post(self._root(path), body, _ASKED.get(path, "")) as content:
            return orjson.loads(await read_whole(content))

    async def command(self, path: str, time_limit: timedelta) -> None:
        """Have the engine do something with itself, and return when it has; no question that could be stuck.

        Raises UnavailableError: it did not say that it has.
        """
        limit = aiohttp.ClientTimeout(total=time_limit.total_seconds())
        try:
            async with self._open().post(self._root(path), timeout=limit, allow_redirects=False) as response:
                status = response.status
                await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise UnavailableError("The engine does not answer.", code=ENGINE_UNREACHABLE) from error
        if status != 200:
            raise UnavailableError(f"The engine answered a command with status {status}.")

    def ask(self, path: str, body: Mapping[str, Any]) -> AbstractAsyncContextManager[aiohttp.StreamReader]:
        """Ask one of OpenAI's endpoints; see `_post`."""
        return self._post(f"{self._base_url}{path}", body, _ASKED[path])

    @contextlib.asynccontextmanager
    async def _post(self, url: str, body: Mapping[str, Any], asked: str) -> AsyncIterator[aiohttp.StreamReader]:
        """Ask; the body of a good answer. `asked` is the field that holds what the model reads.

        Leaving the context before the answer's end closes the connection, which is how an engine is told to stop.
        Raises InvalidArgumentError: the engine refuses the request. UnavailableError: it cannot be reached, or broke
        off before it answered; the cause says how. InternalError: it failed on the request. aiohttp.ClientError from
        reading: it broke off.
        """
        data = orjson.dumps(body)
        with self._traffic.asking() as question:
            response = await self._send(url, data, question)
            question.answered = True
            self._answers.add(response.content)
            try:
                if response.status != 200:
                    raise await self._error(response, asked)
                yield response.content
            finally:
                self._answers.discard(response.content)
                response.close()

    async def _send(self, url: str, data: bytes, question: Question) -> aiohttp.ClientResponse:
        try:
            # A redirect would carry the prompt, and maybe the key, to somebody else.
            return await self._session.post(
                url, data=data, headers={"Content-Type": "application/json"}, allow_redirects=False
            )
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            if question.stuck:
                message = "The engine did not come to an end with this request, and was ended."
                raise InternalError(message, code=ENGINE_STUCK) from error
            raise UnavailableError("The engine cannot be reached.", code=ENGINE_UNREACHABLE) from error

    async def _error(self, response: aiohttp.ClientResponse, asked: str) -> JanError:
        body = await self._error_body(response)
        wait_seconds = wait_seconds_of(response.headers)
        return error_of(response.status, body, asked, is_remote=self._is_remote, wait_seconds=wait_seconds)

    async def _error_body(self, response: aiohttp.ClientResponse) -> bytes:
        body = await response.content.read(_MAX_ERROR_BYTES)
        for secret in self._secrets:
            body = body.replace(secret, b"***")
        return body

    def _open(self) -> aiohttp.ClientSession:
        """The session. Raises UnavailableError: it was closed, because the engine has ended."""
        if self._session.closed:
            raise UnavailableError("The engine has ended.", code=ENGINE_UNREACHABLE)
        return self._session

    def _root(self, path: str) -> str:
        return self._base_url.removesuffix("/v1") + path


def _connector(connection: Connection) -> aiohttp.BaseConnector:
    if connection.socket_path is not None:
        # A new connection costs 0.1 ms; a kept one may be closed by llama.cpp at the moment we write to it.
        return aiohttp.UnixConnector(str(connection.socket_path), limit=0, force_close=True)
    return aiohttp.TCPConnector(limit=0)

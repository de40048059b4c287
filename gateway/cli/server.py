"""The server that the commands talk to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import aiohttp

from gateway.settings import read_key
from jan.settings import Environment, SettingsError


class ServerError(Exception):
    """Why there is no answer, in a sentence for people."""


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
            host = environment.text("JANROOT_HOST", "127.0.0.1")
            port = environment.integer("JANROOT_PORT", 1337, 1, 65535)
            key = read_key(environment.text("JANROOT_ADMIN_KEY", ""))
        except SettingsError as error:
            raise ServerError(str(error)) from None
        return cls(url or f"http://{f'[{host}]' if ':' in host else host}:{port}", key)

    async def get(self, path: str, *, timeout_seconds: float) -> dict[str, Any]:
        """Ask for a JSON object. Raises ServerError."""
        headers = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        timeout = aiohttp.ClientTimeout(total=timeout_seconds)
        try:
            async with (
                aiohttp.ClientSession(headers=headers, timeout=timeout) as session,
                session.get(self.url.rstrip("/") + path) as answer,
            ):
                body = await answer.json()
                status = answer.status
        except (aiohttp.ClientError, TimeoutError, ValueError, OSError) as error:
            reason = str(error) or "it took too long"
            raise ServerError(f"{self.url} does not answer as Janroot does: {reason}.") from None
        if status != 200 or not isinstance(body, dict):
            raise ServerError(f"{self.url} answered {status}: {_message(body)}")
        return body


def _message(body: Any) -> str:
    error = body.get("error") if isinstance(body, dict) else None
    return str(error.get("message", "")) if isinstance(error, dict) else "no reason given"

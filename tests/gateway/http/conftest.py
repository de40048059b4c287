"""OpenAI's client with its own retries, and what it does instead of waiting."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from openai import AsyncOpenAI

from tests.fixtures.gateway import Gateway

Waits = Callable[[Callable[[], Awaitable[object]]], list[float]]


def client_of(gateway: Gateway, **options: Any) -> AsyncOpenAI:
    """The client of a person, who is called Ann."""
    return AsyncOpenAI(base_url=f"{gateway.url}v1", api_key="ann", **options)


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> Waits:
    """Has the client do something instead of waiting before it tries again; answers how long it would have waited."""

    def install(instead: Callable[[], Awaitable[object]]) -> list[float]:
        seconds: list[float] = []

        async def wait(delay: float) -> None:
            seconds.append(delay)
            await instead()

        monkeypatch.setattr("openai._base_client.anyio.sleep", wait)
        return seconds

    return install

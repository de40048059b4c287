"""The Responses API through the newest stock client, on a gateway over real storage and a real queue."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from openai import AsyncOpenAI

from tests.fixtures.gateway import Gateway


@pytest.fixture
async def openai_client(gateway: Gateway) -> AsyncIterator[AsyncOpenAI]:
    """The stock client, without retries: what is asked once must work once."""
    async with AsyncOpenAI(base_url=f"{gateway.url}v1", api_key="unused", max_retries=0, timeout=50) as client:
        yield client

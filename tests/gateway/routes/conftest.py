"""The object routes over HTTP, on the whole gateway."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from openai import AsyncOpenAI

from tests.fixtures.gateway import Gateway
from tests.gateway.client import Api, ask


@pytest.fixture
def api(gateway: Gateway) -> Api:
    """A client of a gateway over real storage."""
    return gateway.client


@pytest.fixture
async def thread(api: Api) -> dict[str, Any]:
    """An empty thread."""
    return await ask(api, "POST", "/v1/threads", {})


@pytest.fixture
async def openai_client(gateway: Gateway) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=f"{gateway.url}v1", api_key="any", max_retries=0) as client:
        yield client

"""Anthropic's newest stock client, on a gateway over real storage and a real queue."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from anthropic import AsyncAnthropic

from tests.fixtures.gateway import Gateway


@pytest.fixture
async def anthropic_client(gateway: Gateway) -> AsyncIterator[AsyncAnthropic]:
    """The stock client, without retries: what is asked once must work once."""
    async with AsyncAnthropic(base_url=gateway.url, api_key="ann", max_retries=0, timeout=50) as client:
        yield client

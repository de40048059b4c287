"""The object routes over HTTP, on the whole gateway."""

from __future__ import annotations

from typing import Any

import pytest

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

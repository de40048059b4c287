"""A gateway that may download from a server of this machine, and short ways to follow a download."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gateway.keys import PULLS
from gateway.pulls.transfer import Patience
from tests.fixtures.gateway import Gateway, running_gateway
from tests.fixtures.model_host import ModelHost, model_host
from tests.fixtures.redis import RedisServer
from tests.fixtures.storage import StorageServer

HUB_TOKEN = "hf_of_this_server"


@pytest.fixture
async def host() -> AsyncIterator[ModelHost]:
    async with model_host() as host:
        yield host


@dataclass(frozen=True)
class Pulling:
    """A gateway that may download from `host`, which is its hub too."""

    gateway: Gateway
    host: ModelHost
    storage: StorageServer

    @property
    def models(self) -> Path:
        return self.storage.janroot / "models"

    @property
    def pulls(self) -> Path:
        return self.storage.janroot / ".server" / "pulls"

    def left_over(self) -> list[Path]:
        """Every file of a download but its record."""
        return [path for path in self.pulls.rglob("*") if path.is_file() and path.name != "pull.json"]

    async def begin(self, model: str = "", **body: Any) -> dict[str, Any]:
        wanted = ({"model": model} if model else {}) | body
        answer: dict[str, Any] = await self.gateway.json("POST", "/v1/models/pull", wanted, status=202)
        return answer

    async def end(self, pull: dict[str, Any]) -> dict[str, Any]:
        """The download once it has ended."""
        async with self.gateway.client.get(f"/v1/models/pull/{pull['id']}/events") as answer:
            assert answer.status == 200
            await answer.read()
        ended: dict[str, Any] = await self.gateway.json("GET", f"/v1/models/pull/{pull['id']}")
        return ended

    async def pull(self, model: str = "", **body: Any) -> dict[str, Any]:
        return await self.end(await self.begin(model, **body))


@pytest.fixture
async def pulling(
    storage_server: StorageServer, redis_server: RedisServer, redis: object, host: ModelHost
) -> AsyncIterator[Pulling]:
    async with running_gateway(storage_server, redis_server, **downloads_from(host)) as gateway:
        gateway.app[PULLS].patience = Patience(max_failures=4, first_seconds=0.01)
        yield Pulling(gateway, host, storage_server)


def downloads_from(host: ModelHost, *others: ModelHost) -> dict[str, str]:
    """The settings of a gateway whose hub is `host`."""
    return {
        "JANROOT_DOWNLOAD_HOSTS": ",".join(one.url.removeprefix("http://") for one in (host, *others)),
        "HF_ENDPOINT": host.url,
        "JANROOT_HF_TOKEN": HUB_TOKEN,
    }


def events(text: str) -> list[tuple[str, Any]]:
    """What a stream of server-sent events said, without comments."""
    found = []
    for block in text.split("\n\n"):
        lines = [line for line in block.splitlines() if not line.startswith(":")]
        if not lines:
            continue
        name = next((line.removeprefix("event: ") for line in lines if line.startswith("event: ")), "")
        data = next(line.removeprefix("data: ") for line in lines if line.startswith("data: "))
        found.append((name, data if data == "[DONE]" else json.loads(data)))
    return found

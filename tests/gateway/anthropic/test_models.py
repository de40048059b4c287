"""Models for Anthropic's stock client: its form, its pages, its errors; OpenAI's clients see nothing of that."""

from __future__ import annotations

from datetime import UTC, datetime

import anthropic
import pytest
from anthropic import AsyncAnthropic

from tests.fixtures.gateway import MODEL_ID, Gateway, running_gateway, write_model
from tests.fixtures.redis import RedisServer
from tests.fixtures.storage import StorageServer

VERSION = {"anthropic-version": "2023-06-01"}
CREATED = 1_700_000_000


def install(storage_server: StorageServer, count: int) -> list[str]:
    """Models beside the scripted one; their ids, the newest first."""
    for number in range(count):
        write_model(storage_server.janroot, f"vendor/m{number}", name=f"Model {number}", created=CREATED + number)
    return [f"vendor/m{number}" for number in reversed(range(count))]


async def test_models_are_listed_the_newest_first(
    storage_server: StorageServer, gateway: Gateway, anthropic_client: AsyncAnthropic
) -> None:
    ids = install(storage_server, 5)
    listed = [model async for model in await anthropic_client.models.list(limit=2)]
    assert [model.id for model in listed if model.id != MODEL_ID] == ids
    newest = next(model for model in listed if model.id == ids[0])
    assert (newest.type, newest.display_name, newest.lifecycle) == ("model", "Model 4", "active")
    assert newest.created_at == datetime.fromtimestamp(CREATED + 4, UTC)
    assert await anthropic_client.models.retrieve(ids[0]) == newest
    assert [model["id"] for model in (await gateway.json("GET", "/v1/models"))["data"]] == sorted([*ids, MODEL_ID])


async def test_pages_go_both_ways(storage_server: StorageServer, anthropic_client: AsyncAnthropic) -> None:
    install(storage_server, 5)
    every = [model.id async for model in await anthropic_client.models.list()]
    behind = await anthropic_client.models.list(after_id=every[1], limit=3)
    assert ([model.id for model in behind.data], behind.has_more) == (every[2:5], True)
    assert (behind.first_id, behind.last_id) == (every[2], every[4])
    before = await anthropic_client.models.list(before_id=every[4], limit=3)
    assert ([model.id for model in before.data], before.has_more) == (every[1:4], True)
    retired = await anthropic_client.models.list(lifecycle=["retired"])
    assert (retired.data, retired.has_more, retired.last_id) == ([], False, None)


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("after_id=nobody", "after_id"),
        ("before_id=nobody", "before_id"),
        ("lifecycle=young", "lifecycle"),
    ],
)
async def test_a_page_that_cannot_be_is_refused_by_name(gateway: Gateway, query: str, named: str) -> None:
    async with gateway.client.get(f"/v1/models?{query}", headers=VERSION) as answer:
        told = await answer.json()
        assert (answer.status, told["error"]["type"]) == (400, "invalid_request_error")
        assert named in told["error"]["message"]
        assert told["request_id"] == answer.headers["request-id"]


async def test_what_is_not_there_is_told_in_the_clients_form(
    gateway: Gateway, anthropic_client: AsyncAnthropic
) -> None:
    with pytest.raises(anthropic.NotFoundError) as caught:
        await anthropic_client.models.retrieve("nobody")
    assert caught.value.type == "not_found_error"
    assert (await gateway.json("GET", "/v1/models/nobody", status=404))["error"]["code"] == "model_not_found"


async def test_a_wrong_key_is_told_in_the_clients_form(
    storage_server: StorageServer, redis_server: RedisServer
) -> None:
    async with (
        running_gateway(
            storage_server, redis_server, JANROOT_AUTH="keys", JANROOT_ADMIN_KEY="a-key-of-32-characters-at-least-"
        ) as guarded,
        AsyncAnthropic(base_url=guarded.url, api_key="wrong", max_retries=0) as client,
    ):
        with pytest.raises(anthropic.AuthenticationError) as caught:
            await client.models.list()
        assert caught.value.type == "authentication_error"
        assert caught.value.request_id is not None

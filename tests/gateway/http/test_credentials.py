"""`x-api-key` is a key like a bearer token: on every route, for everything that asks who it is."""

from __future__ import annotations

from typing import Any

import anthropic
import pytest
from anthropic import AsyncAnthropic

from tests.fixtures.gateway import MODEL_ID, Gateway
from tests.gateway.http.test_guard import KEY, guarded

__all__ = ["guarded"]

ASKED: Any = {"model": MODEL_ID, "max_tokens": 5, "messages": [{"role": "user", "content": "Hi"}]}


async def status(gateway: Gateway, *headers: tuple[str, str], path: str = "/v1/models") -> int:
    async with gateway.client.get(path, headers=[*headers]) as answer:
        return answer.status


async def test_either_header_carries_the_key(guarded: Gateway) -> None:
    for path in ("/v1/models", "/v1/queue/dead"):
        assert await status(guarded, ("x-api-key", KEY), path=path) == 200
        assert await status(guarded, ("x-api-key", KEY), ("Authorization", f"Bearer {KEY}"), path=path) == 200


@pytest.mark.parametrize("key", ["", KEY[:-1], f"{KEY}0", "' OR 1=1--", "\xff", "x" * 5000])
async def test_a_wrong_key_is_refused(guarded: Gateway, key: str) -> None:
    async with guarded.client.get("/v1/models", headers={"x-api-key": key}) as answer:
        assert answer.status == 401
        assert KEY[:10] not in await answer.text()


GOOD, BAD = ("x-api-key", KEY), ("Authorization", "Bearer another")


async def test_two_keys_that_differ_are_nobodys(guarded: Gateway) -> None:
    assert await status(guarded, GOOD, BAD) == 401
    assert await status(guarded, GOOD, ("x-api-key", "another")) == 401
    assert await status(guarded, ("Authorization", f"Bearer {KEY}"), BAD) == 401


async def test_so_they_are_where_keys_only_tell_people_apart(gateway: Gateway) -> None:
    assert await status(gateway, GOOD) == 200
    assert await status(gateway, GOOD, BAD) == 401


async def test_anthropics_client_is_told_in_its_own_form(guarded: Gateway) -> None:
    async with AsyncAnthropic(base_url=guarded.url, api_key="wrong", max_retries=0) as client:
        with pytest.raises(anthropic.AuthenticationError) as caught:
            await client.messages.create(**ASKED)
    assert caught.value.type == "authentication_error"
    assert caught.value.request_id

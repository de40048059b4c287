from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from gateway.http.json_bounds import OF_REQUESTS, Bounds, check_countable
from jan.errors import InvalidArgumentError
from tests.fixtures.gateway import Gateway
from tests.gateway.client import refusal

FEW = Bounds(names=3, nested=2, values=4)


@pytest.mark.parametrize(
    ("value", "what"),
    [
        ({str(place): 1 for place in range(4)}, "3 names of fields"),
        ({"a": [{}, {}]}, "2 objects"),
        ({"a": [[], []]}, "2 lists"),
        ({"a": [0] * 6}, "4 values"),
    ],
)
async def test_countless_things_are_refused(value: Any, what: str) -> None:
    with pytest.raises(InvalidArgumentError, match=f"more than {what}") as refused:
        await check_countable(json.dumps(value).encode(), FEW)
    assert refused.value.code == "request_too_complex"


async def test_texts_may_hold_what_they_like() -> None:
    """Wherever the pieces end in which they are read."""
    for blanks in range(4):
        text = json.dumps({"a": " " * blanks + r'{"b": [1, 2, {"c": "\\"}]}' * 10_000, "b": [1, 2, 3]})
        await check_countable(text.encode(), FEW)


async def test_others_have_their_turn_while_a_body_is_looked_at() -> None:
    turns = 0

    async def take_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    others = asyncio.create_task(take_turns())
    await check_countable(b'{"a": "' + b"{:,[" * 2**18 + b'"}', FEW)
    others.cancel()
    assert turns >= 2**20 // (64 * 1024)


async def test_a_body_of_countless_names_is_refused_before_it_is_parsed(gateway: Gateway) -> None:
    names = dict.fromkeys(map(str, range(OF_REQUESTS.names + 1)), 1)
    for path in ("/v1/chat/completions", "/v1/threads", "/v1/responses"):
        status, error = await refusal(gateway.client, "POST", path, json={"metadata": names})
        assert (status, error["code"]) == (400, "request_too_complex")
        assert "more than 250000 names of fields" in error["message"]

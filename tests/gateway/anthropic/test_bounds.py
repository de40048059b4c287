"""What a stranger may send has bounds; a full queue is told as Anthropic's clients expect; a person's key is one."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import anthropic
import pytest
from anthropic import AsyncAnthropic
from redis.asyncio import Redis

from tests.fixtures.gateway import Gateway, running_gateway, write_model
from tests.fixtures.redis import RedisServer
from tests.fixtures.storage import StorageServer
from tests.fixtures.worker import ScriptedWorker
from tests.gateway.anthropic.test_messages import MESSAGES, TOOL, asked
from tests.gateway.client import refusal
from tests.gateway.queueing.test_back_pressure import until_waiting

TEXT: Any = {"type": "text", "text": "a"}
DEEP: Any = {}
for _ in range(40):
    DEEP = {"properties": DEEP}


def user(*content: Any) -> dict[str, Any]:
    return {"role": "user", "content": [*content]}


def image(data: str) -> dict[str, Any]:
    return user({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": data}})


def call(id_: str, name: str = "f") -> dict[str, Any]:
    return {"role": "assistant", "content": [{"type": "tool_use", "id": id_, "name": name, "input": {}}]}


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"messages": [user(TEXT)] * 2049}, "messages"),
        ({"messages": [user(*[TEXT] * 65)]}, "messages"),
        ({"system": [TEXT] * 65}, "system"),
        ({"messages": [user({"type": "tool_result", "tool_use_id": "t", "content": [TEXT] * 65})]}, "messages.0"),
        ({"messages": [user({"type": "text", "text": "a\0"})]}, "messages.0.content.0.text"),
        ({"messages": [image("not base64!")]}, "messages.0.content.0.source.data"),
        ({"messages": [user(TEXT), call("../x"), user(TEXT)]}, "messages.1.content.0.id"),
        ({"messages": [user(TEXT), call("t", "n" * 129), user(TEXT)]}, "messages.1.content.0.name"),
        ({"messages": [{"role": ["user"], "content": "a"}]}, "messages.0"),
        ({"messages": [user({"type": ["text"], "text": "a"})]}, "messages.0.content.0"),
        ({"messages": {"role": "user"}}, "messages"),
        ({"tools": [TOOL | {"name": f"t{number}"} for number in range(129)]}, "tools"),
        ({"tools": [TOOL | {"input_schema": DEEP}]}, "tools.0.input_schema"),
        ({"tools": [TOOL | {"input_schema": {"$ref": "#"}}]}, "tools.0.input_schema"),
        ({"tools": [TOOL | {"cache_control": {"type": "ephemeral", "ttl": "1y"}}]}, "tools.0.cache_control.ttl"),
        ({"stop_sequences": ["x"] * 17}, "stop_sequences"),
        ({"stop_sequences": ["x" * 257]}, "stop_sequences.0"),
        ({"metadata": {"user_id": "u" * 257}}, "metadata.user_id"),
        ({"max_tokens": 2**31}, "max_tokens"),
        ({"max_tokens": True}, "max_tokens"),
        ({"top_k": -1}, "top_k"),
        ({"tool_choice": {"type": "all"}}, "tool_choice"),
        ({"tool_choice": {"type": "any", "disable_parallel_tool_use": 1}}, "tool_choice.disable_parallel_tool_use"),
        ({"tool_choice": {"type": "none", "name": "f"}}, "tool_choice.name"),
        ({"thinking": {"type": "enabled", "budget_tokens": 1023}}, "thinking.budget_tokens"),
    ],
)
async def test_what_is_out_of_bounds_is_refused_by_name(gateway: Gateway, fields: dict[str, Any], named: str) -> None:
    async with gateway.client.post(MESSAGES, json=asked(**fields)) as answer:
        told = await answer.json()
        assert (answer.status, told["error"]["type"]) == (400, "invalid_request_error")
        assert named in told["error"]["message"]
        assert len(told["error"]["message"]) < 1000


async def test_a_full_queue_is_a_rate_limit(
    storage_server: StorageServer, redis_server: RedisServer, redis: Redis, worker: ScriptedWorker
) -> None:
    write_model(storage_server.janroot)
    async with (
        running_gateway(storage_server, redis_server, JANROOT_MAX_QUEUED_PER_PERSON="1") as gateway,
        AsyncAnthropic(base_url=gateway.url, api_key="ann", max_retries=0) as client,
    ):
        waiting = asyncio.create_task(client.messages.create(**asked()))
        await until_waiting(redis, 1)
        with pytest.raises(anthropic.RateLimitError) as caught:
            await client.messages.create(**asked())
        assert caught.value.type == "rate_limit_error"
        headers = caught.value.response.headers
        assert 1 <= int(headers["retry-after"]) < 60
        assert [headers[f"anthropic-ratelimit-requests-{name}"] for name in ("limit", "remaining")] == ["1", "0"]
        assert datetime.fromisoformat(headers["anthropic-ratelimit-requests-reset"]).tzinfo is UTC
        assert "x-ratelimit-limit-requests" not in headers
        await worker.answer()
        assert (await waiting).stop_reason == "end_turn"


async def test_one_persons_key_is_one_person_in_either_header(gateway: Gateway, worker: ScriptedWorker) -> None:
    tenants = []
    for headers in ({"x-api-key": "ann"}, {"Authorization": "Bearer ann"}):
        async with asyncio.TaskGroup() as tasks:
            answering = tasks.create_task(worker.answer())
            asking = tasks.create_task(_status(gateway, headers))
        assert asking.result() == 200
        tenants.append(answering.result().job.tenant)
    assert tenants[0] == tenants[1]
    assert "ann" not in tenants[0]


async def _status(gateway: Gateway, headers: dict[str, str]) -> int:
    async with gateway.client.post(MESSAGES, json=asked(), headers=headers) as answer:
        return answer.status


async def test_other_routes_keep_openais_form(gateway: Gateway) -> None:
    status, error = await refusal(gateway.client, "POST", "/v1/chat/completions", json=asked(messages=[]))
    assert (status, error["param"]) == (400, "messages")

"""What POST /v1/messages refuses and how it fails, as Anthropic's stock client is told, and what that does then."""

from __future__ import annotations

import asyncio
from typing import Any

import anthropic
import pytest
from anthropic import AsyncAnthropic

from jan.errors import InternalError, InvalidArgumentError, ResourceExhaustedError, UnavailableError
from tests.fixtures.gateway import Gateway
from tests.fixtures.worker import ScriptedWorker
from tests.gateway.anthropic.test_messages import FORMAT, MESSAGES, TOOL, asked, begun


@pytest.mark.parametrize("header", ["anthropic-workspace-id", "anthropic-user-profile-id"])
@pytest.mark.parametrize("path", [MESSAGES, f"{MESSAGES}/count_tokens", f"{MESSAGES}/batches"])
async def test_headers_that_promise_what_is_not_here_are_refused(gateway: Gateway, path: str, header: str) -> None:
    async with gateway.client.post(path, json=asked(), headers={header: "x"}) as answer:
        assert answer.status == 400
        assert header in (await answer.json())["error"]["message"]


@pytest.mark.parametrize("stream", [True, False])
async def test_the_client_tries_again_what_may_succeed_then(
    gateway: Gateway, worker: ScriptedWorker, monkeypatch: pytest.MonkeyPatch, stream: bool
) -> None:
    waited = []

    async def wait(seconds: float) -> None:
        waited.append(seconds)

    monkeypatch.setattr("anthropic._base_client.anyio.sleep", wait)
    async with AsyncAnthropic(base_url=gateway.url, api_key="ann", timeout=50) as client:
        asking = asyncio.create_task(client.messages.create(**asked(), stream=stream))
        await (await worker.take()).fail(ResourceExhaustedError("Busy.", retry_after_seconds=3))
        await (await worker.take()).fail(UnavailableError("Loading.", retry_after_seconds=2))
        await worker.answer()
        answer: Any = await asking
        if stream:
            assert [event.type async for event in answer][-1] == "message_stop"
    assert waited == [3, 2]


@pytest.mark.parametrize("stream", [True, False])
async def test_failures_are_the_clients_classes(
    worker: ScriptedWorker, anthropic_client: AsyncAnthropic, stream: bool
) -> None:
    for error, raised, kind in (
        (InvalidArgumentError("Too long."), anthropic.BadRequestError, "invalid_request_error"),
        (ResourceExhaustedError("Busy.", retry_after_seconds=3), anthropic.RateLimitError, "rate_limit_error"),
        (UnavailableError("Crashed."), anthropic.InternalServerError, "overloaded_error"),
        (InternalError("Broke."), anthropic.InternalServerError, "api_error"),
    ):
        asking = asyncio.create_task(anthropic_client.messages.create(**asked(), stream=stream))
        await (await worker.take()).fail(error)
        with pytest.raises(anthropic.APIStatusError) as caught:
            await asking
        assert isinstance(caught.value, raised)
        body: Any = caught.value.body
        assert (body["type"], body["error"]["type"], body["error"]["message"]) == ("error", kind, error.message)
        assert body["request_id"] == caught.value.request_id
        assert caught.value.response.headers.get("Retry-After") == (
            "3" if isinstance(error, ResourceExhaustedError) else None
        )


async def test_a_failure_in_mid_stream_is_an_event(worker: ScriptedWorker, anthropic_client: AsyncAnthropic) -> None:
    asking = asyncio.create_task(anthropic_client.messages.create(**asked(), stream=True))
    job = await worker.take()
    await job.begin()
    stream = await asking
    await job.say("Hel")
    await job.fail(UnavailableError("The engine broke."))
    with pytest.raises(anthropic.APIStatusError, match="The engine broke") as caught:
        async for _ in stream:
            pass
    assert caught.value.type == "overloaded_error"


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"max_tokens": None}, "max_tokens"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"temperature": 1.5}, "temperature"),
        ({"stop_sequences": [" "]}, "stop_sequences.0"),
        ({"top_k": 4}, "top_k"),
        ({"service_tier": "flex"}, "service_tier"),
        ({"container": "c_1"}, "container"),
        ({"mcp_servers": [{"type": "url"}]}, "mcp_servers"),
        ({"speed": "fast"}, "speed"),
        ({"thinking": {"type": "enabled"}}, "thinking.budget_tokens"),
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, "thinking.budget_tokens"),
        ({"thinking": {"type": "adaptive", "budget_tokens": 1024}}, "thinking.budget_tokens"),
        ({"thinking": {"type": "disabled", "display": "omitted"}}, "thinking.display"),
        ({"thinking": {"type": "between_tools"}}, "thinking"),
        ({"thinking": {}}, "thinking"),
        ({"context_management": {"edits": []}}, "context_management"),
        ({"diagnostics": {"previous_message_id": None}}, "diagnostics"),
        ({"tools": [TOOL | {"input_examples": [{}]}]}, "tools.0.input_examples"),
        ({"tools": [TOOL | {"defer_loading": True}]}, "tools.0.defer_loading"),
        ({"no_such_field": 1}, "no_such_field"),
        ({"output_format": {"type": "json_schema", "schema": {"$ref": "#"}}}, "output_format.schema"),
        ({"output_format": FORMAT, "output_config": {"format": FORMAT}}, "output_format"),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools.0"),
        ({"tools": [TOOL, TOOL]}, "tools"),
        ({"tool_choice": {"type": "any"}}, "tool_choice"),
        ({"tools": [TOOL], "tool_choice": {"type": "tool", "name": "x"}}, "tool_choice.name"),
        ({"messages": [{"role": "user", "content": [{"type": "document"}]}]}, "messages.0.content.0.source"),
        ({"messages": [{"role": "user", "content": [{"text": "Hi"}]}]}, "messages.0.content.0"),
        ({"messages": [{"role": "user", "content": ""}]}, "messages.0.content"),
        ({"messages": [{"role": "assistant", "content": "b"}]}, "messages"),
        ({"messages": begun("b ")}, "messages"),
        ({"messages": begun("b"), "tools": [TOOL]}, "messages"),
        ({"messages": begun("b"), "output_format": FORMAT}, "messages"),
        ({"messages": begun("b"), "thinking": {"type": "adaptive"}}, "messages"),
        ({"messages": begun([{"type": "tool_use", "id": "t", "name": "f", "input": {}}])}, "messages.1"),
        (
            {"output_config": {"format": {"type": "json_schema", "schema": {"$ref": "#"}}}},
            "output_config.format.schema",
        ),
    ],
)
async def test_what_cannot_be_served_is_refused_by_name(gateway: Gateway, fields: dict[str, Any], named: str) -> None:
    answer = await gateway.json("POST", MESSAGES, asked(**fields), status=400)
    assert answer.keys() == {"type", "error", "request_id"}
    assert answer["error"].keys() == {"type", "message"}
    assert answer["error"]["type"] == "invalid_request_error"
    assert named in answer["error"]["message"]


async def test_unknown_urls_and_methods_have_anthropics_form(gateway: Gateway) -> None:
    for method, path, status, kind in (
        ("GET", MESSAGES, 405, "invalid_request_error"),
        ("POST", f"{MESSAGES}/nothing", 404, "not_found_error"),
    ):
        assert (await gateway.json(method, path, status=status))["error"]["type"] == kind
    assert "param" in (await gateway.json("GET", "/v1/nothing", status=404))["error"]


async def test_a_held_conversation_is_refused_in_the_clients_words(gateway: Gateway) -> None:
    answer = await gateway.json("POST", MESSAGES, asked(thread={"type": "create"}), status=400)
    details = {"error_code": "thread_unsupported_request", "unsupported": ["thread"]}
    assert answer["error"]["details"] == details

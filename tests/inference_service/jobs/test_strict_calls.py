"""Calls of strict functions on which the model decides, through a worker."""

from __future__ import annotations

import json
from typing import Any

import jsonschema_rs
import pytest

from inference_service.engines.openai import OpenAiEngine
from inference_service.engines.vllm_request import VllmRequests
from tests.inference_service.answers.test_binding import closed
from tests.inference_service.bench import Bench, demo, remote
from tests.inference_service.engines.test_llamacpp import TEMPLATE_WITH_TOOLS
from tests.inference_service.scripted_engine import PROMPT_TOKENS, ScriptedEngine

REQUESTS = VllmRequests("m", ctx_len=1024, template_has_tools=True, parses_tools=True, embeds=False)


@pytest.fixture
def as_vllm(monkeypatch: pytest.MonkeyPatch) -> None:
    """The scripted engine is asked as vLLM is."""
    monkeypatch.setattr(OpenAiEngine, "chat_call", lambda _self, request: REQUESTS.chat_call(request))


def tools(schema: dict[str, Any], *, strict: bool = True) -> dict[str, Any]:
    return {
        "tools": [{"type": "function", "function": {"name": "f", "strict": strict, "parameters": closed(a=schema)}}]
    }


@pytest.mark.usefixtures("as_vllm")
@pytest.mark.parametrize("stream", [True, False])
async def test_a_call_that_breaks_its_schema_is_asked_for_by_name(
    bench: Bench, scripted: ScriptedEngine, stream: bool
) -> None:
    async with bench.worker():
        said = await bench.ask(remote(scripted.url), tools({"const": 7}), stream=stream)
    assert said.end == "completed"
    choices = [choice for chunk in said.chunks for choice in chunk["choices"]]
    told = [call for choice in choices for call in choice["delta" if stream else "message"].get("tool_calls") or ()]
    calls = [call["function"] for call in told]
    assert "".join(call.get("name", "") for call in calls) == "f"
    assert "".join(call["arguments"] for call in calls) == '{"a":7}'
    assert said.events[-1].completed.finish_reason == "tool_calls"
    by_itself, by_name = scripted.requests
    assert (by_itself["tool_choice"], "response_format" in by_itself) == ("auto", False)
    assert by_name["response_format"]["json_schema"]["schema"]["properties"] == {"a": {"const": 7}}


@pytest.mark.usefixtures("as_vllm")
async def test_both_questions_are_paid_for_and_share_the_limit(bench: Bench, scripted: ScriptedEngine) -> None:
    async with bench.worker():
        said = await bench.ask(remote(scripted.url), {**tools({"const": 7}), "max_tokens": 200}, stream=False)
    by_itself, by_name = scripted.requests
    used = said.events[-1].completed.usage
    assert used.prompt_tokens == 2 * PROMPT_TOKENS
    assert said.chunks[-1]["usage"]["prompt_tokens"] == 2 * PROMPT_TOKENS
    assert by_itself["max_tokens"] == 200
    assert 100 < by_name["max_tokens"] < 200
    assert used.completion_tokens <= 200


@pytest.mark.usefixtures("as_vllm")
@pytest.mark.parametrize(("schema", "strict"), [({"type": "string"}, True), ({"const": 7}, False)])
async def test_any_other_call_is_asked_for_once(
    bench: Bench, scripted: ScriptedEngine, schema: dict[str, Any], strict: bool
) -> None:
    async with bench.worker():
        said = await bench.ask(remote(scripted.url), tools(schema, strict=strict))
    assert said.events[-1].completed.finish_reason == "tool_calls"
    assert len(scripted.requests) == 1


@pytest.mark.usefixtures("as_vllm")
async def test_a_strict_function_that_cannot_bind_is_refused(bench: Bench, scripted: ScriptedEngine) -> None:
    async with bench.worker():
        said = await bench.ask(remote(scripted.url), tools({"type": "string", "format": "uri"}))
    assert (said.error.param, said.error.code) == ("tools[0].function.parameters", "unsupported_schema")
    assert scripted.requests == []


@pytest.mark.engine
@pytest.mark.parametrize(
    ("schema", "wrong"),
    [({"type": "string", "pattern": "^[0-9]{2}[a-z]$"}, "x"), ({"type": "string", "format": "ipv4"}, "hello")],
)
async def test_llamacpp_calls_as_the_schema_says(bench: Bench, schema: dict[str, Any], wrong: str) -> None:
    """Its own grammars let such arguments by."""
    call = json.dumps({"name": "f", "arguments": {"a": wrong}})
    content = f"Repeat this exactly:\n<tool_call>{call}</tool_call>"
    asked = {"messages": [{"role": "user", "content": content}], "max_tokens": 60}
    request = {**asked, "temperature": 0, **tools(schema)}
    async with bench.worker():
        said = await bench.ask(demo(prompt_template=TEMPLATE_WITH_TOOLS), request, stream=False)
    (choice,) = said.chunks[0]["choices"]
    for told in choice["message"].get("tool_calls") or ():
        jsonschema_rs.validate(closed(a=schema), json.loads(told["function"]["arguments"]), validate_formats=True)

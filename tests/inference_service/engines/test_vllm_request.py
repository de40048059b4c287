from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from inference_service.engines.vllm_request import VllmRequests
from jan.errors import InvalidArgumentError

REQUESTS = VllmRequests("model", ctx_len=1024, template_has_tools=True, parses_tools=True, embeds=False)
TOOLS = [{"type": "function", "function": {"name": "f"}}]
MESSAGES = [{"role": "user", "content": "hi"}]


def body(requests: VllmRequests = REQUESTS, **fields: Any) -> dict[str, Any]:
    return dict(requests.chat_call({"messages": MESSAGES, **fields}).body)


@pytest.mark.parametrize(
    "name",
    [
        *("chat_template", "chat_template_kwargs", "prompt_embeds", "structured_outputs", "guided_json", "vllm_xargs"),
        *("mm_processor_kwargs", "media_io_kwargs", "kv_transfer_params", "logits_processors", "documents", "echo"),
        *("request_id", "priority", "user", "metadata"),
        *("stop_token_ids", "allowed_token_ids", "bad_words", "truncate_prompt_tokens", "use_beam_search", "best_of"),
    ],
)
def test_what_changes_its_insides_never_reaches_it(name: str) -> None:
    assert name not in REQUESTS.chat_call({"messages": MESSAGES, name: 1}).body


def test_limits_beyond_the_context_mean_as_much_as_there_is() -> None:
    assert body(max_tokens=10**6)["max_tokens"] == 1024
    assert body(max_tokens=9, max_completion_tokens=5)["max_tokens"] == 5
    assert "max_tokens" not in body()


def test_one_alternative_more_is_asked_for() -> None:
    assert body(logprobs=True, top_logprobs=20)["top_logprobs"] == 21
    assert body(logprobs=True)["top_logprobs"] == 1
    assert "top_logprobs" not in body(logprobs=False)


def test_several_choices_that_are_the_same_are_still_several() -> None:
    assert body(n=2, temperature=0).items() >= {"n": 2, "temperature": 1.0, "top_k": 1}.items()
    assert body(n=1, temperature=0)["temperature"] == 0
    assert "top_k" not in body(n=2, temperature=0.5)


def test_jans_name_of_the_repetition_penalty() -> None:
    assert body(repeat_penalty=1.1)["repetition_penalty"] == 1.1


def test_tools_that_may_be_called_go_as_they_are() -> None:
    assert body(tools=TOOLS, parallel_tool_calls=False).items() >= {"tool_choice": "auto"}.items()
    assert body(tools=TOOLS, parallel_tool_calls=False)["parallel_tool_calls"] is False


def test_tools_that_may_not_be_called_stay_here() -> None:
    for requests in (REQUESTS, replace(REQUESTS, parses_tools=False)):
        sent = body(requests, tools=TOOLS, tool_choice="none")
        assert not {"tools", "tool_choice", "parallel_tool_calls"} & set(sent)


@pytest.mark.parametrize("choice", [{}, {"tool_choice": "auto"}])
def test_a_model_whose_calls_nobody_reads_is_not_left_the_choice(choice: dict[str, str]) -> None:
    with pytest.raises(InvalidArgumentError, match="tool_call_parser") as refused:
        body(replace(REQUESTS, parses_tools=False), tools=TOOLS, **choice)
    assert (refused.value.param, refused.value.code) == ("tool_choice", "unsupported_parameter")
    assert body(replace(REQUESTS, parses_tools=False), tools=[])["messages"] == MESSAGES


async def test_a_forced_call_is_a_schema_beside_the_tools() -> None:
    call = await REQUESTS.chat_call({"messages": MESSAGES, "tools": TOOLS, "tool_choice": "required"}).bound()
    assert (call.body["tool_choice"], call.body["tools"], call.streams) == ("none", TOOLS, True)
    assert call.body["response_format"]["type"] == "json_schema"
    assert call.forced is not None


async def test_a_stop_text_ends_an_answer_and_never_a_forced_call() -> None:
    """It would end what the call is wrapped in: `{"name": "f", "`, and nothing would be called."""
    request = {"messages": MESSAGES, "tools": TOOLS, "stop": ["arguments"]}
    assert (await REQUESTS.chat_call(request).bound()).body["stop"] == ["arguments"]
    assert "stop" not in (await REQUESTS.chat_call({**request, "tool_choice": "required"}).bound()).body


def test_a_template_without_tools_is_told_in_a_message() -> None:
    asked = body(replace(REQUESTS, template_has_tools=False), tools=TOOLS, tool_choice="required")
    assert "tools" not in asked
    assert asked["messages"][0]["role"] == "system"


def test_a_model_that_embeds_does_not_chat() -> None:
    with pytest.raises(InvalidArgumentError, match="writes no text"):
        body(replace(REQUESTS, embeds=True))

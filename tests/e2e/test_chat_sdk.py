"""What a chat may ask for beyond words, by the stock SDK of a real engine."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

import openai
import pytest
from openai import OpenAI
from openai.lib._parsing._completions import type_to_response_format_param
from pydantic import BaseModel, Field

from tests.fixtures.stack import MODEL, Stack

pytestmark = pytest.mark.engine
QUESTION: Any = [{"role": "user", "content": "What is the capital of France?"}]
FUNCTIONS: Any = [
    {
        "name": name,
        "parameters": {"type": "object", "properties": {"day": {"enum": ["today", "tomorrow"]}}, "required": ["day"]},
    }
    for name in ("weather", "time")
]


@pytest.fixture
def client(stack: Stack) -> OpenAI:
    return stack.client


def test_several_choices_with_log_probabilities(client: OpenAI) -> None:
    parameters: Any = {
        "model": MODEL,
        "messages": QUESTION,
        "n": 2,
        "logprobs": True,
        "top_logprobs": 2,
        "max_tokens": 4,
    }
    whole = client.chat.completions.create(**parameters)
    assert [choice.index for choice in whole.choices] == [0, 1]
    for choice in whole.choices:
        assert choice.logprobs
        assert choice.logprobs.content
        assert "".join(entry.token for entry in choice.logprobs.content) == choice.message.content
        assert all(len(entry.top_logprobs) == 2 for entry in choice.logprobs.content)
    chunks = list(client.chat.completions.create(**parameters, stream=True))
    ended = [choice.index for chunk in chunks for choice in chunk.choices if choice.finish_reason]
    assert sorted(ended) == [0, 1]


def test_a_function_of_2023_is_called_in_its_form(client: OpenAI) -> None:
    asked: Any = {"model": MODEL, "messages": QUESTION, "functions": FUNCTIONS, "function_call": {"name": "time"}}
    message = client.chat.completions.create(**asked).choices[0].message
    assert message.tool_calls is None
    assert message.function_call is not None
    assert message.function_call.name == "time"
    assert json.loads(message.function_call.arguments)["day"] in {"today", "tomorrow"}
    deltas = [chunk.choices[0].delta for chunk in client.chat.completions.create(**asked, stream=True)]
    calls = [delta.function_call for delta in deltas if delta.function_call]
    assert calls[0].name == "time"
    assert json.loads("".join(call.arguments or "" for call in calls))["day"] in {"today", "tomorrow"}


def test_only_an_allowed_tool_is_called(client: OpenAI) -> None:
    tools: Any = [{"type": "function", "function": function} for function in FUNCTIONS]
    allowed: Any = {"mode": "required", "tools": [{"type": "function", "function": {"name": "weather"}}]}
    choice: Any = {"type": "allowed_tools", "allowed_tools": allowed}
    answer = client.chat.completions.create(model=MODEL, messages=QUESTION, tools=tools, tool_choice=choice)
    [call] = answer.choices[0].message.tool_calls or []
    assert call.type == "function"
    assert call.function.name == "weather"


class City(BaseModel):
    """What the answer shall hold."""

    name: str
    inhabitants: int


def test_an_answer_is_parsed_by_the_sdk(client: OpenAI) -> None:
    try:
        answer = client.chat.completions.parse(
            model=MODEL, messages=QUESTION, response_format=City, max_tokens=200, temperature=0
        )
    except openai.LengthFinishReasonError:
        pytest.fail("the answer did not end")
    assert isinstance(answer.choices[0].message.parsed, City)


class Rated(BaseModel):
    """What the answer shall hold, in bounds."""

    label: Annotated[str, Field(pattern="^[a-z]{3}-[0-9]$")]
    stars: Annotated[float, Field(ge=1, le=5, multiple_of=0.5)]
    colour: Literal["red", "green"]


def test_bounds_and_patterns_hold_for_what_the_sdk_parses(client: OpenAI) -> None:
    parameters: Any = {"model": MODEL, "messages": QUESTION, "max_tokens": 100, "temperature": 0}
    answer = client.chat.completions.parse(**parameters, response_format=Rated)
    assert isinstance(answer.choices[0].message.parsed, Rated)
    with client.chat.completions.stream(**parameters, response_format=Rated) as stream:
        assert isinstance(stream.get_final_completion().choices[0].message.parsed, Rated)


class Draw(BaseModel):
    """What no answer can be bound to: a set is a list without repeats."""

    numbers: set[int]


@pytest.mark.parametrize("stream", [False, True])
def test_what_does_not_bind_is_refused_by_name(client: OpenAI, stream: bool) -> None:
    format_ = type_to_response_format_param(Draw)
    asked: Any = {"model": MODEL, "messages": QUESTION, "response_format": format_, "stream": stream}
    with pytest.raises(openai.APIError, match=r"'uniqueItems' at properties\.numbers is not supported") as refused:
        list(client.chat.completions.create(**asked))  # a stream that waits for its model has begun by then
    assert (refused.value.param, refused.value.code) == ("response_format", "unsupported_schema")


def test_what_answered_is_told(client: OpenAI) -> None:
    parameters: Any = {"model": MODEL, "messages": QUESTION, "max_tokens": 1}
    whole = client.chat.completions.create(**parameters, service_tier="auto", reasoning_effort="none")
    chunks = list(client.chat.completions.create(**parameters, stream=True))
    assert whole.service_tier == "default"
    assert {chunk.system_fingerprint for chunk in chunks} == {whole.system_fingerprint}
    assert (whole.system_fingerprint or "").startswith("fp_")
    assert chunks[0].service_tier is None


def test_an_image_is_refused_by_a_model_without_eyes(client: OpenAI) -> None:
    image = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
    messages: Any = [{"role": "user", "content": [image]}]
    with pytest.raises(openai.BadRequestError, match="cannot see images"):
        client.chat.completions.create(model=MODEL, messages=messages)


def test_a_stored_chat_survives_storage_killed(stack: Stack, client: OpenAI) -> None:
    parameters: Any = {
        "model": MODEL,
        "messages": QUESTION,
        "max_tokens": 4,
        "store": True,
        "metadata": {"by": "killed"},
    }
    whole = client.chat.completions.create(**parameters)
    *_, last = client.chat.completions.create(**parameters, stream=True)
    stack.kill("storage_service")
    stack.start("storage_service")
    stack.until_ready()
    found = client.chat.completions.list(metadata={"by": "killed"})
    assert [one.id for one in found.data] == [whole.id, last.id]
    assert found.data[0].choices[0].message.content == whole.choices[0].message.content
    assert client.chat.completions.messages.list(last.id).data[0].content == QUESTION[0]["content"]

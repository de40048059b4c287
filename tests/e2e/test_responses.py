"""Responses and conversations with the stock SDK's helpers, against all four processes and a real model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from openai import OpenAI
from pydantic import BaseModel

from tests.fixtures.stack import MODEL, Stack

pytestmark = pytest.mark.engine

WEATHER: Any = {
    "type": "function",
    "name": "weather",
    "description": "The weather of a city.",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string", "enum": ["Paris", "Rome"]}},
        "required": ["city"],
        "additionalProperties": False,
    },
    "strict": True,
}


class Capital(BaseModel):
    """What is asked for as structured text."""

    city: str


@pytest.fixture
def client(stack: Stack) -> Iterator[OpenAI]:
    with stack.client as client:
        yield client


def test_a_response_is_streamed_read_and_gone_on_with(client: OpenAI) -> None:
    with client.responses.stream(model=MODEL, input="Say hello.", max_output_tokens=24, temperature=0) as stream:
        said = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
        final = stream.get_final_response()
    assert said
    assert final.output_text == said
    assert client.responses.retrieve(final.id).output_text == said
    after = client.responses.create(
        model=MODEL, input="Again.", previous_response_id=final.id, max_output_tokens=16, temperature=0
    )
    assert after.status in {"completed", "incomplete"}
    assert after.output_text
    counted = client.responses.input_tokens.count(model=MODEL, input="Again.", previous_response_id=final.id)
    assert after.usage is not None
    assert counted.input_tokens == after.usage.input_tokens
    with client.responses.retrieve(after.id, stream=True, starting_after=2) as again:
        assert next(event.sequence_number for event in list(again)) == 3


def test_text_is_parsed_and_a_function_is_called(client: OpenAI) -> None:
    parsed = client.responses.parse(
        model=MODEL, input="The capital of France?", text_format=Capital, max_output_tokens=64, temperature=0
    )
    assert isinstance(parsed.output_parsed, Capital)
    conversation = client.conversations.create()
    called = client.responses.create(
        model=MODEL,
        input="How is the weather in Rome?",
        conversation=conversation.id,
        tools=[WEATHER],
        tool_choice={"type": "function", "name": "weather"},
        temperature=0,
    )
    [call] = called.output
    assert call.type == "function_call"
    assert json.loads(call.arguments)["city"] in {"Paris", "Rome"}
    output: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "Sunny, 31 degrees."}
    answered = client.responses.create(
        model=MODEL, input=[output], conversation=conversation.id, max_output_tokens=32, temperature=0
    )
    assert answered.output_text
    items = client.conversations.items.list(conversation.id, order="asc").data
    assert [item.type for item in items] == ["message", "function_call", "function_call_output", "message"]


def test_files_are_searched_and_what_they_say_is_counted(client: OpenAI) -> None:
    store = client.vector_stores.create(name="Garden")
    file = ("tomatoes.md", b"Plant tomatoes in the middle of May.")
    client.vector_stores.files.upload_and_poll(vector_store_id=store.id, file=file)
    asked: Any = {
        "model": MODEL,
        "input": "When do I plant tomatoes?",
        "tools": [{"type": "file_search", "vector_store_ids": [store.id]}],
    }
    response = client.responses.create(**asked, max_output_tokens=16, temperature=0)
    assert [item.type for item in response.output] == ["file_search_call", "message"]
    assert response.output_text
    assert response.usage is not None
    counted = client.responses.input_tokens.count(**asked)
    assert counted.input_tokens == response.usage.input_tokens

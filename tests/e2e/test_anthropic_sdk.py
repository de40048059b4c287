"""Anthropic's newest stock client against all four processes and a real model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import anthropic
import pytest
from anthropic import Anthropic, beta_tool
from pydantic import BaseModel

from tests.fixtures.stack import MODEL, Stack

pytestmark = pytest.mark.engine

COUNT: Any = [{"role": "user", "content": "Count from 1 to 9."}]
GREEDY = {"temperature": 0}  # the newest client has no parameter for it any more; the API has
WEATHER: Any = {
    "name": "weather",
    "description": "The weather of a city.",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string", "enum": ["Paris", "Rome"]}},
        "required": ["city"],
        "additionalProperties": False,
    },
}


@pytest.fixture
def client(stack: Stack) -> Iterator[Anthropic]:
    with Anthropic(base_url=stack.url, api_key="unused", max_retries=0, timeout=50) as client:
        yield client


def test_a_message_whole_streamed_and_counted(client: Anthropic) -> None:
    asked: Any = {"model": MODEL, "messages": COUNT, "system": "Answer briefly."}
    whole = client.messages.create(**asked, max_tokens=4, extra_body=GREEDY)
    with client.messages.stream(**asked, max_tokens=4, extra_body=GREEDY) as stream:
        said = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert whole.content[0].type == "text"
    assert final.content[0].type == "text"
    assert said == whole.content[0].text == final.content[0].text
    assert (whole.stop_reason, final.stop_reason) == ("max_tokens", "max_tokens")
    for usage in (whole.usage, final.usage):
        assert usage.output_tokens == 4
        read = usage.input_tokens + (usage.cache_read_input_tokens or 0)
        assert client.messages.count_tokens(**asked).input_tokens == read


def test_a_stop_sequence_is_told_and_its_cost_counted(client: Anthropic) -> None:
    asked: Any = {"model": MODEL, "messages": COUNT}
    plain = client.messages.create(**asked, max_tokens=40, extra_body=GREEDY)
    assert plain.content[0].type == "text"
    stop = plain.content[0].text[10:13]
    cut = client.messages.create(**asked, max_tokens=40, extra_body=GREEDY, stop_sequences=["no such thing", stop])
    assert cut.content[0].type == "text"
    assert (cut.stop_reason, cut.stop_sequence) == ("stop_sequence", stop)
    assert cut.content[0].text == plain.content[0].text.partition(stop)[0]
    assert cut.usage.input_tokens == client.messages.count_tokens(**asked).input_tokens
    assert 0 < cut.usage.output_tokens < plain.usage.output_tokens


def test_a_tool_is_called_and_its_result_answered(client: Anthropic) -> None:
    messages: Any = [{"role": "user", "content": "How is the weather in Rome?"}]
    choice: Any = {"type": "tool", "name": "weather"}
    asked: Any = {"model": MODEL, "max_tokens": 60, "extra_body": GREEDY, "tools": [WEATHER]}
    with client.messages.stream(**asked, messages=messages, tool_choice=choice) as stream:
        called = stream.get_final_message()
    [call] = called.content
    assert call.type == "tool_use"
    assert called.stop_reason == "tool_use"
    assert call.input["city"] in {"Paris", "Rome"}
    whole = client.messages.create(**asked, messages=messages, tool_choice=choice)
    assert [block.type for block in whole.content] == ["tool_use"]
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "Sunny, 31 degrees."}
    messages += [called.to_param(), {"role": "user", "content": [result]}]
    answered = client.messages.create(**asked, messages=messages, tool_choice={"type": "none"})
    assert answered.content[0].type == "text"
    assert answered.content[0].text


def test_an_answer_obeys_a_schema(client: Anthropic) -> None:
    schema = {"type": "object", "properties": {"city": {"enum": ["Paris"]}}, "required": ["city"]}
    config: Any = {"format": {"type": "json_schema", "schema": schema}}
    answer = client.messages.create(model=MODEL, messages=COUNT, max_tokens=40, extra_body=GREEDY, output_config=config)
    assert answer.content[0].type == "text"
    assert "Paris" in answer.content[0].text


class Town(BaseModel):
    """What the client makes a schema of."""

    name: Literal["Paris"]


def test_the_clients_helpers_parse_an_answer(client: Anthropic) -> None:
    asked: Any = {"model": MODEL, "messages": COUNT, "max_tokens": 40, "extra_body": GREEDY, "output_format": Town}
    assert client.messages.parse(**asked).parsed_output == Town(name="Paris")
    with client.messages.stream(**asked) as stream:
        assert stream.get_final_message().parsed_output == Town(name="Paris")


def test_a_batch(client: Anthropic) -> None:
    params: Any = {"model": MODEL, "messages": COUNT, "max_tokens": 4, **GREEDY}
    requests: Any = [{"custom_id": f"request-{number}", "params": params} for number in range(3)]
    batch = client.messages.batches.create(requests=requests)
    while (batch := client.messages.batches.retrieve(batch.id)).processing_status != "ended":
        pass
    assert batch.request_counts.succeeded == 3
    found = {one.custom_id: one.result for one in client.messages.batches.results(batch.id)}
    assert found.keys() == {"request-0", "request-1", "request-2"}
    alone = client.messages.create(model=MODEL, messages=COUNT, max_tokens=4, extra_body=GREEDY)
    for result in found.values():
        assert result.type == "succeeded"
        assert result.message.content == alone.content
        assert result.message.usage.output_tokens == 4
    assert batch.id in [one.id for one in client.messages.batches.list()]
    client.messages.batches.delete(batch.id)
    assert batch.id not in [one.id for one in client.messages.batches.list()]


@beta_tool
def lookup(city: Literal["Rome"]) -> str:
    """The weather of a city.

    Args:
        city: which
    """
    return f"Sunny in {city}."


@pytest.mark.parametrize("stream", [False, True])
def test_the_clients_tool_runner_runs_its_tools(client: Anthropic, stream: bool) -> None:
    asked: Any = {"model": MODEL, "max_tokens": 60, "messages": COUNT, "tools": [lookup], "stream": stream}
    runner: Any = client.beta.messages.tool_runner(**asked, tool_choice={"type": "any"}, max_iterations=2)
    said = [turn.get_final_message() if stream else turn for turn in runner]
    assert [[block.type for block in message.content] for message in said] == [["tool_use"], ["tool_use"]]
    [result] = runner.generate_tool_call_response()["content"]
    assert (result["tool_use_id"], result["content"]) == (said[-1].content[0].id, "Sunny in Rome.")


def test_refusals_are_the_clients_classes(client: Anthropic) -> None:
    with pytest.raises(anthropic.NotFoundError, match="does not exist"):
        client.messages.create(model="no-such-model", messages=COUNT, max_tokens=5)
    image: Any = {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}}
    with pytest.raises(anthropic.BadRequestError, match="cannot see images") as caught:
        client.messages.create(model=MODEL, messages=[{"role": "user", "content": [image]}], max_tokens=5)
    assert caught.value.request_id
    long: Any = [{"role": "user", "content": "word " * 20_000}]
    with pytest.raises(anthropic.BadRequestError, match="maximum context length"):
        client.messages.create(model=MODEL, messages=long, max_tokens=5)


def test_a_stream_that_is_left_frees_its_slot(client: Anthropic) -> None:
    asked: Any = {"model": MODEL, "messages": COUNT, "max_tokens": 4000}
    for _ in range(6):  # there are four slots
        with client.messages.stream(**asked) as stream:
            next(iter(stream.text_stream))
    assert client.messages.create(model=MODEL, messages=COUNT, max_tokens=1).usage.output_tokens == 1

"""What is told of answers that were stopped in their middle: the stock client, all four processes, a real model."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import pytest
from openai import OpenAI

from tests.fixtures.stack import MODEL, Stack

pytestmark = [
    pytest.mark.engine,
    pytest.mark.filterwarnings("ignore:.*deprecated.*:DeprecationWarning"),  # Assistants is what we are a home for
]


@pytest.fixture
def client(stack: Stack) -> Iterator[OpenAI]:
    with stack.client as client:
        yield client


def test_what_was_used_of_a_cancelled_run_and_response_is_told(client: OpenAI) -> None:
    story = "Count from 1 to 1000, one number a line."
    numbers = {"type": "array", "items": {"type": "integer"}, "minItems": 500}  # far from its end when it is cancelled
    shape: Any = {"name": "numbers", "schema": {"type": "object", "properties": {"a": numbers}, "required": ["a"]}}
    text: Any = {"format": {"type": "json_schema", **shape}}
    thread = client.beta.threads.create(messages=[{"role": "user", "content": story}])
    with client.beta.threads.runs.stream(
        thread_id=thread.id,
        assistant_id="jan",
        model=MODEL,
        response_format={"type": "json_schema", "json_schema": shape},
    ) as stream:
        assert len([*islice(stream.text_deltas, 8)]) == 8
        run = stream.current_run
        assert run is not None
        client.beta.threads.runs.cancel(run.id, thread_id=thread.id)
        stream.until_done()
    ended = client.beta.threads.runs.retrieve(run.id, thread_id=thread.id)
    [step] = client.beta.threads.runs.steps.list(run.id, thread_id=thread.id).data
    assert (ended.status, step.status) == ("cancelled", "cancelled")
    assert ended.usage is not None
    assert step.usage is not None
    assert step.usage.model_dump() == ended.usage.model_dump()
    assert ended.usage.completion_tokens >= 8
    assert 0 < ended.usage.prompt_tokens < 200
    assert ended.usage.total_tokens == ended.usage.prompt_tokens + ended.usage.completion_tokens

    with client.responses.create(model=MODEL, input=story, background=True, stream=True, text=text) as events:
        created = next(event.response for event in events if event.type == "response.created")
        said = (event for event in events if event.type == "response.output_text.delta")
        assert len([*islice(said, 8)]) == 8
    cancelled = client.responses.cancel(created.id)
    assert cancelled.status == "cancelled"
    assert cancelled.usage is not None
    assert cancelled.usage.output_tokens >= 8
    assert cancelled.usage.input_tokens > 0

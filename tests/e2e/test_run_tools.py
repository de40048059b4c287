"""Function tools in runs with the stock SDK's helpers, against all four processes and a real model."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest
from openai import AssistantEventHandler, OpenAI
from openai.types.beta.threads import Run
from openai.types.beta.threads.runs import ToolCall, ToolCallDelta
from typing_extensions import override

from tests.e2e.test_openai_sdk import TOOLS
from tests.fixtures.stack import MODEL, SERVICES, Stack

pytestmark = [
    pytest.mark.engine,
    pytest.mark.filterwarnings("ignore:.*deprecated.*:DeprecationWarning"),  # Assistants is what we are a home for
]
WEATHER: Any = {"type": "function", "function": {"name": "weather"}}


@pytest.fixture
def client(stack: Stack) -> OpenAI:
    return stack.client


@pytest.fixture
def assistant_id(client: OpenAI) -> str:
    assistant = client.beta.assistants.create(model=MODEL, instructions="Be brief.", tools=TOOLS, temperature=0)
    return assistant.id


def new_thread(client: OpenAI) -> str:
    return client.beta.threads.create(messages=[{"role": "user", "content": "How is the weather in Rome?"}]).id


def called(run: Run) -> Any:
    assert run.status == "requires_action", run
    assert run.required_action is not None
    [call] = run.required_action.submit_tool_outputs.tool_calls
    assert call.function.name == "weather"
    assert json.loads(call.function.arguments)["city"] in {"Paris", "Rome"}
    return call


def answered(client: OpenAI, run: Run) -> None:
    """The run ended with a message of its own, behind a step with the call and its output."""
    assert run.status in {"completed", "incomplete"}, run
    assert run.usage is not None
    [message] = client.beta.threads.messages.list(run.thread_id, run_id=run.id).data
    assert message.content[0].type == "text"
    assert message.content[0].text.value
    calls, said = client.beta.threads.runs.steps.list(run.id, thread_id=run.thread_id, order="asc").data
    assert calls.step_details.type == "tool_calls"
    [call] = calls.step_details.tool_calls
    assert call.type == "function"
    assert call.function.output == "Sunny, 31 degrees."
    assert said.step_details.type == "message_creation"
    assert calls.usage is not None
    assert said.usage is not None
    assert run.usage.total_tokens == calls.usage.total_tokens + said.usage.total_tokens


def test_a_polled_run_calls_and_answers(client: OpenAI, assistant_id: str) -> None:
    thread_id = new_thread(client)
    run = client.beta.threads.runs.create_and_poll(
        thread_id=thread_id, assistant_id=assistant_id, tool_choice=WEATHER, max_completion_tokens=256
    )
    call = called(run)
    with pytest.raises(openai.BadRequestError, match="Expected tool outputs for call_ids"):
        client.beta.threads.runs.submit_tool_outputs(
            run.id, thread_id=thread_id, tool_outputs=[{"tool_call_id": "call_other", "output": "x"}]
        )
    run = client.beta.threads.runs.submit_tool_outputs_and_poll(
        run_id=run.id,
        thread_id=thread_id,
        tool_outputs=[{"tool_call_id": call.id, "output": "Sunny, 31 degrees."}],
    )
    answered(client, run)


class Handler(AssistantEventHandler):
    """Notes what the SDK makes of a stream."""

    def __init__(self) -> None:
        super().__init__()
        self.created: list[ToolCall] = []
        self.arguments = ""
        self.said = ""

    @override
    def on_tool_call_created(self, tool_call: ToolCall) -> None:
        self.created.append(tool_call)

    @override
    def on_tool_call_delta(self, delta: ToolCallDelta, snapshot: ToolCall) -> None:
        assert delta.type == "function"
        assert delta.function is not None
        self.arguments += delta.function.arguments or ""

    @override
    def on_text_delta(self, delta: Any, snapshot: Any) -> None:
        self.said += delta.value or ""


def test_a_streamed_run_calls_and_answers(client: OpenAI, assistant_id: str) -> None:
    thread_id = new_thread(client)
    handler = Handler()
    with client.beta.threads.runs.stream(
        thread_id=thread_id,
        assistant_id=assistant_id,
        tool_choice=WEATHER,
        max_completion_tokens=256,
        event_handler=handler,
    ) as stream:
        stream.until_done()
        run = stream.current_run
        [step] = stream.get_final_run_steps()
    assert run is not None
    call = called(run)
    assert [created.id for created in handler.created] == [call.id]
    assert handler.arguments == call.function.arguments
    assert step.step_details.type == "tool_calls"
    second = Handler()
    with client.beta.threads.runs.submit_tool_outputs_stream(
        run_id=run.id,
        thread_id=thread_id,
        tool_outputs=[{"tool_call_id": call.id, "output": "Sunny, 31 degrees."}],
        event_handler=second,
    ) as stream:
        [message] = stream.get_final_messages()
        final = stream.current_run
    assert final is not None
    assert message.content[0].type == "text"
    assert message.content[0].text.value == second.said
    answered(client, final)


def test_a_waiting_run_survives_the_restart_of_everything(stack: Stack, client: OpenAI, assistant_id: str) -> None:
    thread_id = new_thread(client)
    run = client.beta.threads.runs.create_and_poll(
        thread_id=thread_id, assistant_id=assistant_id, tool_choice=WEATHER, max_completion_tokens=256
    )
    call = called(run)
    for name in ("redis", *SERVICES):
        stack.kill(name)
    stack.start_all()
    waiting = client.beta.threads.runs.retrieve(run.id, thread_id=thread_id)
    assert called(waiting) == call
    answered(
        client,
        client.beta.threads.runs.submit_tool_outputs_and_poll(
            run_id=run.id,
            thread_id=thread_id,
            tool_outputs=[{"tool_call_id": call.id, "output": "Sunny, 31 degrees."}],
        ),
    )

"""A conversation of Anthropic's blocks becomes the chat that says the same, and an answer comes back as it was."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.anthropic.answer import MessageAnswer, Wishes
from gateway.anthropic.conversation import conversation, image_names
from gateway.http.body import validate
from gateway.schemas.anthropic_messages import CountTokensRequest
from jan.errors import InvalidArgumentError
from jan.inference.v1 import jobs_pb2
from jan.type.v1.usage_pb2 import Usage

CALL = {"type": "tool_use", "id": "t1", "name": "weather", "input": {"city": "Rome"}}
RESULT = {"type": "tool_result", "tool_use_id": "t1", "content": "Sunny."}
JSON = st.recursive(
    st.none() | st.booleans() | st.text("xyz", max_size=3),
    lambda inner: st.lists(inner) | st.dictionaries(st.text("k"), inner),
)
INPUTS = st.dictionaries(st.text("abc", min_size=1), JSON, max_size=3)


def user(*content: Any) -> dict[str, Any]:
    return {"role": "user", "content": [*content]}


def assistant(*content: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": [*content]}


def text(said: str) -> dict[str, Any]:
    return {"type": "text", "text": said}


def image(name: str) -> dict[str, Any]:
    return {"type": "image", "source": {"type": "url", "url": f"https://example.com/{name}"}}


def told(*messages: dict[str, Any], **fields: Any) -> list[dict[str, Any]]:
    body = validate({"model": "m", "messages": [*messages], **fields}, CountTokensRequest)
    return conversation(body.system or (), body.messages)


def chunk(delta: dict[str, Any], finish_reason: str | None = None) -> jobs_pb2.JobEvent:
    choices = [{"index": 0, "delta": delta, "finish_reason": finish_reason}]
    return jobs_pb2.JobEvent(chunk=jobs_pb2.Chunk(data=json.dumps({"choices": choices}).encode()))


def answered(message: dict[str, Any]) -> list[Any]:
    """A chat's message said again by a model, in chunks; the blocks that come of it."""
    answer = MessageAnswer("chatcmpl-1", Wishes("m", 100))
    events = [chunk({"role": "assistant", "content": ""})]
    events += [chunk({"content": character}) for character in message["content"] or ""]
    for index, call in enumerate(message.get("tool_calls", ())):
        function = call["function"]
        events.append(
            chunk({"tool_calls": [{"index": index, "id": call["id"], "function": {"name": function["name"]}}]})
        )
        events += [
            chunk({"tool_calls": [{"index": index, "function": {"arguments": c}}]}) for c in function["arguments"]
        ]
    done = jobs_pb2.Completed(finish_reason="stop", usage=Usage(prompt_tokens=9, cached_tokens=4, completion_tokens=2))
    for event in [*events, chunk({}, "stop"), jobs_pb2.JobEvent(completed=done)]:
        answer.hear(event)
    whole = answer.whole()
    assert whole["usage"]["input_tokens"] + whole["usage"]["cache_read_input_tokens"] == 9
    return [*whole["content"]]


def test_a_system_prompt_is_a_text_or_blocks() -> None:
    blocks = [text("Be brief.") | {"cache_control": {"type": "ephemeral"}}, text("Be kind.")]
    for system, content in (("Be brief.", "Be brief."), (blocks, "Be brief.\n\nBe kind.")):
        assert told(user(text("Hi")), system=system)[0] == {"role": "system", "content": content}


def test_calls_and_results_become_messages_of_their_own() -> None:
    failed = {"type": "tool_result", "tool_use_id": "t2", "content": [text("No such city.")], "is_error": True}
    thought = {"type": "thinking", "thinking": "Hm.", "signature": ""}
    asked = assistant(thought, text("Let me see."), CALL, {**CALL, "id": "t2", "input": {}})
    messages = told(user(text("Hi")), asked, user(text("And?"), RESULT, failed))
    function = {"name": "weather", "arguments": '{"city":"Rome"}'}
    assert messages[1]["content"] == "Let me see."
    assert messages[1]["tool_calls"][0] == {"id": "t1", "type": "function", "function": function}
    assert messages[2:] == [
        {"role": "tool", "tool_call_id": "t1", "content": "Sunny."},
        {"role": "tool", "tool_call_id": "t2", "content": "Error: No such city."},
        {"role": "user", "content": "And?"},
    ]


def test_turns_of_one_side_are_one_turn() -> None:
    assert told(user(text("a")), user(text("b"))) == [{"role": "user", "content": "a\n\nb"}]


def test_an_image_keeps_its_place_among_the_texts() -> None:
    source = {"type": "base64", "media_type": "image/png", "data": "iVBO\nRw0="}
    [message] = told(user(text("Look:"), {"type": "image", "source": source, "transformations": {}}))
    assert message["content"][1] == {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0="}}


def test_images_that_tools_gave_back_are_shown_behind_the_results_with_their_numbers() -> None:
    second = CALL | {"id": "t2"}
    seen = RESULT | {"content": [text("Before."), image("a"), text("After."), image("b")]}
    blind = RESULT | {"tool_use_id": "t2", "content": [image("c")], "is_error": True}
    sent = [user(image("z")), assistant(CALL, second), user(image("d"), blind), user(seen, text("And?"))]
    chat = told(*sent)
    assert [one["content"] for one in chat if one["role"] == "tool"] == [
        "Error: (See image 1 below.)",
        "Before.\n\n(See image 2 below.)\n\nAfter.\n\n(See image 3 below.)",
    ]
    assert chat[-1]["role"] == "user"
    assert [
        part["text"] if part["type"] == "text" else part["image_url"]["url"][-1] for part in chat[-1]["content"]
    ] == [
        *("Image 1:", "c", "Image 2:", "a", "Image 3:", "b"),
        *("d", "And?"),
    ]
    body = validate({"model": "m", "messages": sent}, CountTokensRequest)
    assert image_names(body.messages) == [
        "messages[0].content[0].source",
        "messages[2].content[1].content[0].source",
        "messages[3].content[0].content[1].source",
        "messages[3].content[0].content[3].source",
        "messages[2].content[0].source",
    ]


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        ([user(text("Hi")), assistant(CALL), user(text("Well?"))], "messages[1]"),
        ([user(text("Hi")), user(RESULT)], "messages[0]"),
        ([user(text("Hi")), assistant(text("Yes?")), user(RESULT)], "messages[2]"),
        ([user(text("Hi")), assistant(CALL), user(RESULT, RESULT)], "messages[2]"),
    ],
)
def test_a_call_needs_its_result_and_a_result_its_call(messages: list[Any], param: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        told(*messages)
    assert caught.value.param == param


@settings(max_examples=50)
@given(st.text("ab \u00e9\U0001f99c", min_size=1, max_size=8), st.lists(INPUTS, max_size=3))
def test_an_answer_that_is_sent_back_and_said_again_is_the_same(said: str, inputs: list[Any]) -> None:
    calls = [{**CALL, "id": f"t{number}", "input": value} for number, value in enumerate(inputs)]
    results = [{**RESULT, "tool_use_id": call["id"]} for call in calls]
    sent = [user(text("Hi")), assistant(text(said), *calls), user(text("Go on."), *results)]
    chat = told(*sent)
    assert [message["role"] for message in chat] == ["user", "assistant", *["tool"] * len(calls), "user"]
    assert answered(chat[1]) == [text(said), *calls]


def test_two_calls_of_one_id_are_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="unique"):
        told(user(text("Hi")), assistant(CALL, CALL), user(RESULT))

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from openai.types.beta.threads import Message

from gateway.convert.json_fields import to_text
from gateway.convert.messages import message_from_proto, new_message
from gateway.http.body import validate
from gateway.idempotency.new_ids import NewIds
from gateway.schemas.messages import CreateMessage
from jan.storage.v1 import messages_pb2


def stored(content: list[dict[str, Any]], **fields: Any) -> messages_pb2.Message:
    return messages_pb2.Message(
        id="msg_1",
        thread_id="jan_1",
        created_at=Timestamp(seconds=7),
        role=messages_pb2.MESSAGE_ROLE_USER,
        content_json=to_text(content),
        **fields,
    )


def test_the_least_message_has_every_field_of_openai() -> None:
    answer = message_from_proto(stored([]))
    Message.model_validate(answer, strict=True)
    assert answer == {
        "id": "msg_1",
        "object": "thread.message",
        "created_at": 7,
        "thread_id": "jan_1",
        "status": "completed",
        "incomplete_details": None,
        "completed_at": None,
        "incomplete_at": None,
        "role": "user",
        "content": [],
        "assistant_id": None,
        "run_id": None,
        "attachments": [],
        "metadata": {},
        "file_ids": [],
    }


def test_an_answer_that_ended_early_says_so() -> None:
    answer = message_from_proto(
        stored(
            [],
            status=messages_pb2.MESSAGE_STATUS_INCOMPLETE,
            incomplete_reason="max_tokens",
            incomplete_at=Timestamp(seconds=9),
            assistant_id="jan",
            run_id="run_1",
        )
    )
    Message.model_validate(answer)
    assert answer["status"] == "incomplete"
    assert answer["incomplete_details"] == {"reason": "max_tokens"}
    assert (answer["incomplete_at"], answer["assistant_id"], answer["run_id"]) == (9, "jan", "run_1")


def test_what_is_sent_comes_back() -> None:
    attachments = [{"file_id": "file-1", "tools": [{"type": "file_search"}]}]
    body = validate(
        {"role": "assistant", "content": "Hi", "attachments": attachments, "metadata": {"k": "v"}}, CreateMessage
    )
    message = new_message(body, NewIds(), "jan_1")
    answer = message_from_proto(message)
    Message.model_validate(answer)
    assert message.id.startswith("msg_")
    assert message.id != new_message(body, NewIds()).id
    assert answer["thread_id"] == "jan_1"
    assert answer["role"] == "assistant"
    assert answer["content"] == [{"type": "text", "text": {"value": "Hi", "annotations": []}}]
    assert answer["attachments"] == attachments
    assert answer["file_ids"] == ["file-1"]
    assert answer["metadata"] == {"k": "v"}


@pytest.mark.parametrize(
    ("role", "name"),
    [(messages_pb2.MESSAGE_ROLE_SYSTEM, "system"), (messages_pb2.MESSAGE_ROLE_TOOL, "tool")],
)
def test_roles_of_old_files_are_answered_as_they_are(role: messages_pb2.MessageRole.ValueType, name: str) -> None:
    message = stored([])
    message.role = role
    assert message_from_proto(message)["role"] == name


@pytest.mark.parametrize(
    ("part", "answered"),
    [
        ({"type": "text", "text": "Hi"}, {"type": "text", "text": {"value": "Hi", "annotations": []}}),
        ({"type": "text", "text": {"value": "Hi"}}, {"type": "text", "text": {"value": "Hi", "annotations": []}}),
        ({"type": "text", "text": 5}, {"type": "text", "text": 5}),
        (
            {"type": "pdf", "text": {"value": "Sum up", "annotations": ["a.pdf"], "name": "a.pdf", "size": 5}},
            {"type": "pdf", "text": {"value": "Sum up", "annotations": ["a.pdf"], "name": "a.pdf", "size": 5}},
        ),
    ],
)
def test_text_of_old_files_gets_what_openai_promises(part: dict[str, Any], answered: dict[str, Any]) -> None:
    assert message_from_proto(stored([part]))["content"] == [answered]

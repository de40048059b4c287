from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from openai.types.beta import Thread

from gateway.convert.json_fields import MAX_SENT_LENGTH
from gateway.convert.threads import new_thread, thread_from_proto, thread_update
from gateway.http.body import validate
from gateway.idempotency.new_ids import NewIds
from gateway.schemas.threads import CreateThread, ModifyThread
from jan.errors import InvalidArgumentError
from jan.ids import ThreadId
from jan.storage.v1 import threads_pb2


def create(body: dict[str, Any]) -> threads_pb2.CreateThreadRequest:
    return new_thread(validate(body, CreateThread), NewIds())


def test_the_least_thread_has_every_field_of_openai() -> None:
    proto = threads_pb2.Thread(id="jan_1", created_at=Timestamp(seconds=7), updated_at=Timestamp(seconds=8))
    answer = thread_from_proto(proto)
    Thread.model_validate(answer, strict=True)
    assert answer == {
        "id": "jan_1",
        "object": "thread",
        "created_at": 7,
        "metadata": {},
        "tool_resources": None,
        "title": "",
        "assistants": [],
        "models": [],
        "updated_at": 8,
    }


def test_everything_sent_comes_back() -> None:
    sent: dict[str, Any] = {
        "metadata": {"k": "v"},
        "tool_resources": {"code_interpreter": {"file_ids": ["file-1"]}},
        "title": "Physics",
        "assistants": [
            {
                "assistant_id": "helper",
                "assistant_name": "Helper",
                "instructions": "Be brief.",
                "model": {"id": "vendor/m", "settings": {"ctx_len": 4096}, "parameters": {"temperature": 0.2}},
            }
        ],
    }
    request = create(sent)
    answer = thread_from_proto(request.thread)
    assert {key: answer[key] for key in sent} == sent
    assert request.assistant_id == "helper"
    Thread.model_validate(answer)


def test_first_messages_get_ids_of_their_own() -> None:
    messages = create({"messages": [{"role": "user", "content": "Hi"}] * 2}).messages
    assert len({message.id for message in messages}) == 2


def test_no_body_makes_an_empty_thread() -> None:
    assert new_thread(None, NewIds()) == create({})
    assert new_thread(None, NewIds(), "helper").assistant_id == "helper"


def test_an_open_model_is_jans_star() -> None:
    request = create({"assistants": [{"model": {"id": "*"}}]})
    assert request.thread.assistants[0].model_id == ""
    [assistant] = thread_from_proto(request.thread)["assistants"]
    assert assistant["assistant_id"] == "jan"
    assert assistant["model"] == {"id": "*", "settings": {}, "parameters": {}}


@pytest.mark.parametrize(
    ("body", "assistant_id", "model_id"),
    [
        ({"models": ["m", "other"]}, "jan", "m"),
        ({"models": ["m"], "assistants": ["helper"]}, "helper", "m"),
        ({"models": ["m"], "assistants": [{"assistant_id": "helper", "model": {"id": "own"}}]}, "helper", "own"),
    ],
)
def test_models_of_jans_first_draft_fill_the_first_assistant(
    body: dict[str, Any], assistant_id: str, model_id: str
) -> None:
    first = create(body).thread.assistants[0]
    assert (first.assistant_id, first.model_id) == (assistant_id, model_id)


def test_further_models_of_the_draft_wait_with_what_they_override() -> None:
    warm, long = {"temperature": 1.0}, {"ctx_len": 8192}
    models = [
        {"name": "m", "parameters": warm},
        "bare",
        {"id": "other", "settings": long},
        {"id": "other", "settings": {}},
        {"id": "m"},
    ]
    request = create({"models": models})
    assert [(model.id, model.settings_json) for model in request.thread.models] == [("other", '{"ctx_len":8192}')]
    assert thread_from_proto(request.thread)["models"] == [
        {"id": "m", "settings": {}, "parameters": warm},
        {"id": "other", "settings": long, "parameters": {}},
    ]


def test_only_the_fields_sent_change() -> None:
    request = thread_update(ThreadId("jan_1"), validate({"title": "T", "unknown": 1}, ModifyThread))
    assert request.thread.id == "jan_1"
    assert request.thread.title == "T"
    assert list(request.update_mask.paths) == ["title"]


@pytest.mark.parametrize("field", sorted(ModifyThread.model_fields.keys() - {"assistants"}))
def test_null_clears_a_field(field: str) -> None:
    request = thread_update(ThreadId("jan_1"), validate({field: None}, ModifyThread))
    [path] = request.update_mask.paths
    assert path in {field, f"{field}_json"}
    assert thread_from_proto(request.thread)[field] == thread_from_proto(threads_pb2.Thread())[field]


def test_a_thread_whose_assistants_are_cleared_is_the_default_assistants() -> None:
    request = thread_update(ThreadId("jan_1"), validate({"assistants": None}, ModifyThread))
    assert [assistant.assistant_id for assistant in request.thread.assistants] == ["jan"]


def test_settings_that_no_file_can_hold_are_refused_by_name() -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        create({"assistants": ["a", {"model": {"settings": {"text": "x" * MAX_SENT_LENGTH}}}]})
    assert caught.value.param == "assistants[1].model.settings"

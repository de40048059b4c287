from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from openai.types.beta import Assistant

from gateway.convert.assistants import assistant_from_proto, assistant_update, new_assistant
from gateway.http.body import validate
from gateway.idempotency.new_ids import NewIds
from gateway.schemas.assistants import CreateAssistant, ModifyAssistant
from jan.ids import AssistantId
from jan.storage.v1 import assistants_pb2

HELPER = AssistantId("asst_1")


def update(body: dict[str, Any]) -> assistants_pb2.UpdateAssistantRequest:
    return assistant_update(HELPER, validate(body, ModifyAssistant))


def test_the_least_assistant_has_every_field_of_openai() -> None:
    answer = assistant_from_proto(assistants_pb2.Assistant(id="jan", created_at=Timestamp(seconds=7)))
    Assistant.model_validate(answer, strict=True)
    assert answer == {
        "id": "jan",
        "object": "assistant",
        "created_at": 7,
        "name": None,
        "description": None,
        "model": "*",
        "instructions": None,
        "tools": [],
        "tool_resources": None,
        "metadata": {},
        "temperature": None,
        "top_p": None,
        "response_format": "auto",
        "reasoning_effort": None,
        "models": ["*"],
        "avatar": "",
        "file_ids": [],
        "parameters": {},
        "settings": {},
        "thread_location": "ROOT/threads",
        "state": "ready",
        "source_url": None,
        "error": None,
        "downloaded_bytes": None,
    }


def test_everything_sent_comes_back() -> None:
    sent: dict[str, Any] = {
        "model": "m",
        "name": "",
        "description": "d",
        "instructions": "i",
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
        "tool_resources": {"file_search": {"vector_store_ids": ["vs_1"]}},
        "metadata": {"k": "v"},
        "temperature": 0.0,
        "top_p": 1.0,
        "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}},
        "reasoning_effort": "low",
        "avatar": "🤖",
        "file_ids": ["file-1"],
        "parameters": {"max_tokens": 5},
        "settings": {"ctx_len": 512, "own": "x"},
        "thread_location": "ROOT/assistants/x/threads",
        "models": ["m", "vendor/n"],
    }
    answer = assistant_from_proto(new_assistant(validate(sent, CreateAssistant), NewIds()))
    assert {key: answer[key] for key in sent} == sent
    Assistant.model_validate(answer)


def test_each_new_assistant_has_an_id_of_its_own() -> None:
    body = validate({"model": "m"}, CreateAssistant)
    ids = {new_assistant(body, NewIds()).id, new_assistant(body, NewIds()).id}
    assert len(ids) == 2
    assert all(name.startswith("asst_") for name in ids)


def test_only_the_fields_sent_change() -> None:
    request = update({"name": "N", "tools": [], "unknown": 1})
    assert list(request.update_mask.paths) == ["name", "tools_json"]
    assert request.assistant.id == HELPER


@pytest.mark.parametrize("field", sorted(ModifyAssistant.model_fields.keys() - {"model", "models"}))
def test_null_clears_a_field(field: str) -> None:
    request = update({field: None})
    [path] = request.update_mask.paths
    assert path in {field, f"{field}_json"}
    answer = assistant_from_proto(request.assistant)
    assert answer[field] == assistant_from_proto(assistants_pb2.Assistant())[field]


@pytest.mark.parametrize("body", [{"model": None}, {"models": None}, {"models": []}, {"model": None, "models": None}])
def test_null_leaves_the_models_which_no_assistant_can_be_without(body: dict[str, Any]) -> None:
    assert list(update(body).update_mask.paths) == []


def test_a_model_alone_leaves_no_others() -> None:
    request = update({"model": "m"})
    assert list(request.update_mask.paths) == ["further_models", "model"]
    assert assistant_from_proto(request.assistant)["models"] == ["m"]

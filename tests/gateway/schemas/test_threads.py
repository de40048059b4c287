from __future__ import annotations

from typing import Any

import pytest

from gateway.http.body import validate
from gateway.schemas.threads import CreateThread, ModifyThread
from jan.errors import InvalidArgumentError


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        ({"messages": {}}, "messages", "invalid_type"),
        ({"messages": [{"role": "user", "content": "Hi"}, {"role": "user"}]}, "messages[1].content", None),
        ({"messages": [{"role": "system", "content": "Hi"}]}, "messages[0].role", "invalid_value"),
        ({"metadata": {"k": None}}, "metadata.k", "invalid_type"),
        ({"tool_resources": {"code_interpreter": []}}, "tool_resources.code_interpreter", "invalid_type"),
        ({"title": "t" * 1025}, "title", "string_above_max_length"),
        ({"title": {}}, "title", "invalid_type"),
        ({"assistants": {}}, "assistants", "invalid_type"),
        ({"assistants": [{}] * 33}, "assistants", "array_above_max_length"),
        ({"assistants": [1]}, "assistants[0]", "invalid_type"),
        ({"assistants": ["../x"]}, "assistants[0].assistant_id", "invalid_value"),
        ({"assistants": [{"assistant_id": "CON"}]}, "assistants[0].assistant_id", "invalid_value"),
        ({"assistants": [{"instructions": "i" * 256_001}]}, "assistants[0].instructions", "string_above_max_length"),
        ({"assistants": [{"model": {"id": "a/../b"}}]}, "assistants[0].model.id", "invalid_value"),
        ({"assistants": [{"model": {"settings": []}}]}, "assistants[0].model.settings", "invalid_type"),
        ({"assistants": [{"model": {"parameters": 1}}]}, "assistants[0].model.parameters", "invalid_type"),
        ({"models": "m"}, "models", "invalid_type"),
    ],
)
def test_each_rule_names_the_field_at_fault(body: dict[str, Any], param: str, code: str | None) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        validate(body, CreateThread)
    assert caught.value.param == param
    if code is not None:
        assert caught.value.code == code


@pytest.mark.parametrize(
    "body",
    [
        {},
        dict.fromkeys(CreateThread.model_fields),
        {"messages": [], "assistants": [], "metadata": {}, "tool_resources": {}},
        {"tool_resources": {"file_search": {"vector_store_ids": ["vs_1"]}}},
        {"assistants": [{"assistant_id": None, "model": {"id": None, "settings": None}}]},
    ],
)
def test_what_openai_takes_is_taken(body: dict[str, Any]) -> None:
    validate(body, CreateThread)


@pytest.mark.parametrize(
    "assistant",
    [
        "helper",
        {"assistant_id": "helper"},
        {"id": "helper"},
        {"assistant_id": "helper", "assistant_name": "H", "tools": [], "model": {"id": "*", "engine": "nitro"}},
    ],
)
def test_an_assistant_is_named_in_every_spelling_of_jan(assistant: Any) -> None:
    body = validate({"assistants": [assistant]}, CreateThread)
    assert [found.assistant_id for found in body.assistants or []] == ["helper"]


@pytest.mark.parametrize("model", ["m", {"id": "m"}, {"name": "m"}])
def test_a_model_is_named_in_every_spelling_of_jan(model: Any) -> None:
    body = validate({"models": [model], "assistants": [{"model": model}]}, CreateThread)
    assert body.models is not None
    assert body.assistants is not None
    assert body.assistants[0].model == body.models[0]
    assert body.models[0].id == "m"


def test_modifying_knows_which_fields_were_sent() -> None:
    assert validate({"title": None, "models": []}, ModifyThread).model_fields_set == {"title"}

from __future__ import annotations

from typing import Any

import pytest

from gateway.http.body import validate
from gateway.schemas.messages import CreateMessage, ModifyMessage
from jan.errors import InvalidArgumentError


def text(value: str, annotations: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    return {"type": "text", "text": {"value": value, "annotations": annotations or []}}


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        ({"role": None}, "role", None),
        ({"role": "system"}, "role", "invalid_value"),
        ({"role": "tool"}, "role", "invalid_value"),
        ({"content": None}, "content", "invalid_type"),
        ({"content": 1}, "content", "invalid_type"),
        ({"content": {}}, "content", "invalid_type"),
        ({"content": []}, "content", "empty_array"),
        ({"content": ""}, "content", "empty_string"),
        ({"content": [{"type": "text", "text": ""}]}, "content[0].text", "empty_string"),
        ({"content": [1]}, "content[0]", "invalid_type"),
        ({"content": ["Hi"]}, "content[0]", "invalid_type"),
        ({"content": [{"text": "Hi"}]}, "content[0].type", "missing_required_parameter"),
        ({"content": [{"type": "audio"}]}, "content[0].type", "invalid_value"),
        ({"content": [{"type": "text"}]}, "content[0].text", "missing_required_parameter"),
        ({"content": [{"type": "text", "text": 1}]}, "content[0].text", "invalid_type"),
        ({"content": [{"type": "text", "text": {}}]}, "content[0].text.value", "missing_required_parameter"),
        ({"content": "a\0b"}, "content[0].text.value", "invalid_value"),
        ({"content": [{"type": "image_url", "image_url": {"url": ""}}]}, "content[0].image_url.url", "empty_string"),
        ({"content": [{"type": "image_url", "image_url": {"url": "x", "detail": "max"}}]}, None, "invalid_value"),
        ({"content": [{"type": "image_file", "image_file": {}}]}, "content[0].image_file.file_id", None),
        ({"content": [{"type": "image_file", "text": "Hi"}]}, "content[0].image_file", "missing_required_parameter"),
        ({"attachments": {}}, "attachments", "invalid_type"),
        ({"attachments": [{"tools": []}]}, "attachments[0].file_id", "missing_required_parameter"),
        ({"attachments": [{"file_id": "f"}]}, "attachments[0].tools", "missing_required_parameter"),
        ({"attachments": [{"file_id": "f", "tools": [{"type": "x"}]}]}, "attachments[0].tools[0].type", None),
        ({"metadata": {"k": ["v"]}}, "metadata.k", "invalid_type"),
    ],
)
def test_each_rule_names_the_field_at_fault(body: dict[str, Any], param: str | None, code: str | None) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        validate({"role": "user", "content": "Hi"} | body, CreateMessage)
    if param is not None:
        assert caught.value.param == param
    if code is not None:
        assert caught.value.code == code


@pytest.mark.parametrize("missing", ["role", "content"])
def test_role_and_content_are_required(missing: str) -> None:
    body = {"role": "user", "content": "Hi"}
    del body[missing]
    with pytest.raises(InvalidArgumentError) as caught:
        validate(body, CreateMessage)
    assert (caught.value.param, caught.value.code) == (missing, "missing_required_parameter")


@pytest.mark.parametrize(
    ("content", "stored"),
    [
        ("Hi", [text("Hi")]),
        ([text("")], [text("")]),
        ([{"type": "text", "text": "Hi"}], [text("Hi")]),
        ([{"type": "text", "text": {"value": "Hi"}}], [text("Hi")]),
        ([text("Hi", [{"type": "file_path"}])], [text("Hi", [{"type": "file_path"}])]),
        ([{"type": "text", "text": {"value": "Hi", "annotations": None}, "image_url": None}], [text("Hi")]),
        (
            [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}, {"type": "text", "text": "?"}],
            [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}, text("?")],
        ),
        (
            [{"type": "image_file", "image_file": {"file_id": "file-1", "detail": "low"}}],
            [{"type": "image_file", "image_file": {"file_id": "file-1", "detail": "low"}}],
        ),
    ],
)
def test_every_spelling_of_content_is_stored_in_one(content: Any, stored: list[dict[str, Any]]) -> None:
    body = validate({"role": "user", "content": content}, CreateMessage)
    assert [part.as_stored() for part in body.content] == stored


@pytest.mark.parametrize(
    "extra",
    [
        {"metadata": None, "attachments": None},
        {"attachments": []},
        {"attachments": [{"file_id": "file-1", "tools": [{"type": "file_search"}]}]},
        {"id": "msg_mine", "object": "thread.message", "created": 5, "status": "ready", "file_ids": []},
    ],
)
def test_what_clients_add_is_taken(extra: dict[str, Any]) -> None:
    validate({"role": "assistant", "content": "Hi"} | extra, CreateMessage)


def test_modifying_knows_whether_metadata_was_sent() -> None:
    assert validate({"metadata": None}, ModifyMessage).model_fields_set == {"metadata"}
    assert validate({"content": "Hi"}, ModifyMessage).model_fields_set == set()

from __future__ import annotations

from typing import Any

import pytest

from gateway.http.body import validate
from gateway.schemas.assistants import CreateAssistant, ModifyAssistant
from jan.errors import InvalidArgumentError

FUNCTION = {"type": "function", "function": {"name": "add"}}


def named(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name}}


def refused(body: dict[str, Any]) -> InvalidArgumentError:
    with pytest.raises(InvalidArgumentError) as caught:
        validate({"model": "m"} | body, CreateAssistant)
    return caught.value


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        ({"model": None}, "model", "invalid_type"),
        ({"model": 1}, "model", "invalid_type"),
        ({"model": []}, "model", "invalid_type"),
        ({"model": ""}, "model", "invalid_value"),
        ({"model": "../etc/passwd"}, "model", "invalid_value"),
        ({"model": "x" * 201}, "model", "invalid_value"),
        ({"model": ["m", 1]}, "models[1]", "invalid_type"),
        ({"models": ["m"] * 129}, "models", "array_above_max_length"),
        ({"models": ["../x"]}, "models[1]", "invalid_value"),
        ({"thread_location": 1}, "thread_location", "invalid_type"),
        ({"thread_location": "x" * 4097}, "thread_location", "string_above_max_length"),
        ({"name": "n" * 257}, "name", "string_above_max_length"),
        ({"name": 5}, "name", "invalid_type"),
        ({"name": "a\0b"}, "name", "invalid_value"),
        ({"description": "d" * 513}, "description", "string_above_max_length"),
        ({"instructions": "i" * 256_001}, "instructions", "string_above_max_length"),
        ({"tools": [FUNCTION] * 129}, "tools", "array_above_max_length"),
        ({"tools": {}}, "tools", "invalid_type"),
        ({"tools": [{}]}, "tools[0].type", "missing_required_parameter"),
        ({"tools": [{"type": "browser"}]}, "tools[0].type", "invalid_value"),
        ({"tools": [{"type": "function"}]}, "tools[0].function", "missing_required_parameter"),
        ({"tools": [{"type": "function", "function": {}}]}, "tools[0].function.name", "missing_required_parameter"),
        ({"tools": [{"type": "function", "function": {"name": "no spaces"}}]}, "tools[0].function.name", None),
        ({"tools": [{"type": "file_search", "file_search": {"max_num_results": 51}}]}, None, "integer_above_max_value"),
        ({"tool_resources": []}, "tool_resources", "invalid_type"),
        ({"tool_resources": {"code_interpreter": {"file_ids": ["f"] * 21}}}, None, "array_above_max_length"),
        ({"tool_resources": {"file_search": {"vector_store_ids": ["a", "b"]}}}, None, "array_above_max_length"),
        ({"tools": [{"type": "retrieval"}]}, "tools[0].type", "unsupported_parameter"),
        ({"metadata": {str(n): "v" for n in range(17)}}, "metadata", None),
        ({"metadata": {"k": "v" * 513}}, "metadata.k", "string_above_max_length"),
        ({"metadata": {"k": 1}}, "metadata.k", "invalid_type"),
        ({"metadata": []}, "metadata", "invalid_type"),
        ({"temperature": 2.1}, "temperature", "decimal_above_max_value"),
        ({"temperature": -1}, "temperature", "decimal_below_min_value"),
        ({"temperature": "1"}, "temperature", "invalid_type"),
        ({"temperature": True}, "temperature", "invalid_type"),
        ({"top_p": 1.1}, "top_p", "decimal_above_max_value"),
        ({"response_format": "json"}, "response_format", "invalid_type"),
        ({"response_format": {"type": "yaml"}}, "response_format.type", "invalid_value"),
        ({"reasoning_effort": "much"}, "reasoning_effort", "invalid_value"),
        ({"avatar": "a" * 4097}, "avatar", "string_above_max_length"),
        ({"file_ids": [1]}, "file_ids[0]", "invalid_type"),
        ({"parameters": "hot"}, "parameters", "invalid_type"),
    ],
)
def test_each_rule_names_the_field_at_fault(body: dict[str, Any], param: str | None, code: str | None) -> None:
    error = refused(body)
    if param is not None:
        assert error.param == param
    if code is not None:
        assert error.code == code


def test_the_types_of_tools_that_are_told_are_all_taken() -> None:
    told = "'function', 'file_search', 'code_interpreter', and 'web_browsing'"
    assert refused({"tools": [{"type": "x"}]}).message == f"Invalid value: 'x'. Supported values are: {told}."


def test_a_metadata_key_has_at_most_64_characters() -> None:
    assert refused({"metadata": {"k" * 65: "v"}}).param.startswith("metadata")


def test_a_model_is_required() -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        validate({}, CreateAssistant)
    assert (caught.value.param, caught.value.code) == ("model", "missing_required_parameter")


@pytest.mark.parametrize(
    "body",
    [
        {"model": "zephyr"},
        {"model": ["zephyr", "gpt-4"]},
        {"models": ["zephyr", "gpt-4"]},
        {"model": None, "models": ["zephyr"]},
        {"model": "zephyr", "models": ["other"]},
        {"models": "zephyr"},
    ],
)
def test_the_first_model_named_counts_in_every_spelling(body: dict[str, Any]) -> None:
    assert validate(body, CreateAssistant).model == "zephyr"


@pytest.mark.parametrize("model", ["*", "vendor/name", "gpt-4o"])
def test_models_that_are_not_here_may_be_named(model: str) -> None:
    assert validate({"model": model}, CreateAssistant).model == model


@pytest.mark.parametrize(
    "body",
    [
        {field: None for field in CreateAssistant.model_fields if field != "model"},
        {"tools": [], "file_ids": [], "metadata": {}},
        {
            "name": "n" * 256,
            "description": "d" * 512,
            "instructions": "i" * 256_000,
            "tools": [named(f"f{n}") for n in range(128)],
        },
        {"name": "漢" * 256},  # characters count, not bytes
        {"temperature": 2, "top_p": 0, "reasoning_effort": "xhigh"},
        {"metadata": {f"{n:0>64}": "v" * 512 for n in range(16)}},
        {"response_format": "auto"},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}}},
        {"tools": [{"type": "function", "function": {"name": "f", "description": None, "strict": None}}]},
        {"thread_location": "ROOT/threads", "version": 1, "object": "assistant"},
    ],
)
def test_what_openai_takes_is_taken(body: dict[str, Any]) -> None:
    validate({"model": "m"} | body, CreateAssistant)


@pytest.mark.parametrize(
    "tool",
    [
        {"type": "code_interpreter"},
        {"type": "file_search", "file_search": {"ranking_options": {"ranker": "auto", "score_threshold": 0.5}}},
        {"type": "retrieval", "enabled": False, "settings": {"top_k": 2, "retrieval_template": "{CONTEXT}"}},
        {"type": "web_browsing"},
        {
            "type": "function",
            "function": {"name": "f", "parameters": {"x": [1, None]}, "model_dump": 1},
        },
    ],
)
def test_a_tool_is_kept_as_it_was_sent(tool: dict[str, Any]) -> None:
    body = validate({"model": "m", "tools": [tool]}, CreateAssistant)
    assert [kept.as_sent() for kept in body.tools or []] == [tool]


def test_null_in_a_tool_means_absent() -> None:
    """But for what is within its parameters, which are the model's to read."""
    function = {"name": "f", "parameters": {"x": None}}
    body = validate(
        {"model": "m", "tools": [{"type": "function", "function": function | {"strict": None}}]}, CreateAssistant
    )
    assert [kept.as_sent() for kept in body.tools or []] == [{"type": "function", "function": function}]


def test_modifying_knows_which_fields_were_sent() -> None:
    body = validate({"name": None, "models": ["m"], "surprise": 1}, ModifyAssistant)
    assert body.model_fields_set == {"name", "model", "models"}

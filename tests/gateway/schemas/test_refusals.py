"""What is wrong with a request is told in OpenAI's words and codes, by the name of the very field."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

import gateway
from gateway.http.body import validate
from gateway.schemas.anthropic_messages import MessagesRequest
from gateway.schemas.assistants import CreateAssistant
from gateway.schemas.chat import ChatCompletionRequest
from gateway.schemas.common import RequestModel
from gateway.schemas.conversations import CreateConversation, CreateItems
from gateway.schemas.embeddings import EmbeddingsRequest
from gateway.schemas.messages import CreateMessage
from gateway.schemas.responses import CreateResponse
from gateway.schemas.runs import CreateRun
from gateway.schemas.tokens import TokenizeRequest
from jan.errors import InvalidArgumentError

USER = {"role": "user", "content": "Hi"}
ONE = {"type": "function", "function": {"name": "one"}}
FLAT = {"type": "function", "name": "one"}


def refused(model: type[BaseModel], body: dict[str, Any]) -> InvalidArgumentError:
    with pytest.raises(InvalidArgumentError) as caught:
        validate(body, model)
    return caught.value


def chat(**fields: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [USER], **fields}


def run(**fields: Any) -> dict[str, Any]:
    return {"assistant_id": "jan", **fields}


@pytest.mark.parametrize(
    ("fields", "code", "words"),
    [
        (
            {"temperature": 3},
            "decimal_above_max_value",
            "decimal above maximum value. Expected a value <= 2, but got 3",
        ),
        ({"top_p": 1.5}, "decimal_above_max_value", "decimal above maximum value. Expected a value <= 1, but got 1.5"),
        ({"presence_penalty": -3}, "decimal_below_min_value", "decimal below minimum value. Expected a value >= -2"),
        (
            {"repeat_penalty": 0},
            "decimal_below_min_value",
            "decimal below minimum value. Expected a value > 0, but got 0",
        ),
        ({"logit_bias": {"1": 101}}, "decimal_above_max_value", "decimal above maximum value. Expected a value <= 100"),
        ({"n": 0}, "integer_below_min_value", "integer below minimum value. Expected a value >= 1, but got 0"),
        ({"top_logprobs": 21}, "integer_above_max_value", "integer above maximum value. Expected a value <= 20"),
    ],
)
def test_numbers_out_of_bounds(fields: dict[str, Any], code: str, words: str) -> None:
    error = refused(ChatCompletionRequest, chat(**fields))
    [name] = fields
    assert (error.param, error.code) == (name, code)
    assert error.message.startswith(f"Invalid '{name}': {words}")


@pytest.mark.parametrize(
    ("model", "body", "param"),
    [
        (ChatCompletionRequest, {"model": "m"}, "messages"),
        (ChatCompletionRequest, chat(messages=[USER, {"role": "user"}]), "messages[1].content"),
        (ChatCompletionRequest, chat(messages=[{"role": "assistant", "content": None}]), "messages[0].content"),
        (ChatCompletionRequest, chat(messages=[{"role": "tool", "content": "a"}]), "messages[0].tool_call_id"),
        (ChatCompletionRequest, chat(messages=[{"role": "function", "content": "a"}]), "messages[0].name"),
        (
            ChatCompletionRequest,
            chat(messages=[{"role": "user", "content": [{"type": "image_url"}]}]),
            "messages[0].content[0].image_url",
        ),
        (ChatCompletionRequest, chat(response_format={"type": "json_schema"}), "response_format.json_schema"),
        (ChatCompletionRequest, chat(tools=[ONE], tool_choice={"type": "function"}), "tool_choice.function"),
        (CreateRun, run(truncation_strategy={"type": "last_messages"}), "truncation_strategy.last_messages"),
        (CreateRun, run(tool_choice={"type": "function"}), "tool_choice.function"),
        (CreateRun, run(tools=[{"type": "function"}]), "tools[0].function"),
        (CreateMessage, {"role": "user", "content": [{"type": "image_file"}]}, "content[0].image_file"),
        (CreateResponse, {"model": "m", "input": [{"role": "user"}]}, "input[0].content"),
        (
            CreateResponse,
            {"model": "m", "input": [{"role": "user", "content": [{"type": "input_text"}]}]},
            "input[0].content[0].text",
        ),
        (CreateResponse, {"model": "m", "tool_choice": {"type": "function"}}, "tool_choice.name"),
    ],
)
def test_what_is_missing(model: type[BaseModel], body: dict[str, Any], param: str) -> None:
    error = refused(model, body)
    assert (error.param, error.code) == (param, "missing_required_parameter")
    assert error.message == f"Missing required parameter: '{param}'."


@pytest.mark.parametrize(
    ("name", "value", "code", "words"),
    [
        ("n", "2", "invalid_type", "Invalid type for 'n': expected an integer, but got a string instead."),
        ("n", 1.5, "invalid_type", "expected an integer, but got a decimal instead."),
        ("temperature", "1", "invalid_type", "expected a decimal, but got a string instead."),
        ("stream", 1, "invalid_type", "expected a boolean, but got an integer instead."),
        ("tools", {}, "invalid_type", "expected an array, but got an object instead."),
        ("metadata", [], "invalid_type", "expected an object, but got an array instead."),
        ("model", None, "invalid_type", "expected a string, but got null instead."),
        ("verbosity", True, "invalid_type", "expected one of 'low', 'medium' or 'high', but got a boolean instead."),
        ("verbosity", "x", "invalid_value", "Invalid value: 'x'. Supported values are: 'low', 'medium', and 'high'."),
        ("safety_identifier", "x" * 65, "string_above_max_length", "with maximum length 64, but got a string with"),
        ("messages", [], "empty_array", "Expected an array with minimum length 1, but got an empty array instead."),
        ("tools", [ONE] * 129, "array_above_max_length", "maximum length 128, but got an array with length 129"),
        (
            "metadata",
            dict.fromkeys(map(str, range(17)), "x"),
            "object_above_max_properties",
            "Expected an object with at most 16 properties, but got 17 properties instead.",
        ),
    ],
)
def test_openais_words(name: str, value: Any, code: str, words: str) -> None:
    error = refused(ChatCompletionRequest, chat(**{name: value}))
    assert (error.param, error.code) == (name, code)
    assert words in error.message


def test_a_message_without_parts() -> None:
    error = refused(ChatCompletionRequest, chat(messages=[{"role": "user", "content": []}]))
    assert (error.param, error.code) == ("messages[0].content", "empty_array")


@pytest.mark.parametrize("body", [{}, {"prompt": "a", "content": "b"}])
def test_one_of_several_is_needed(body: dict[str, Any]) -> None:
    error = refused(TokenizeRequest, body)
    assert (error.code, error.message) == (
        "missing_required_parameter",
        "Send one of messages, prompt and content.",
    )


@pytest.mark.parametrize(
    ("model", "body", "param"),
    [
        (ChatCompletionRequest, chat(tools=[ONE, ONE]), "tools[1].function.name"),
        (ChatCompletionRequest, chat(functions=[{"name": "a"}, {"name": "b"}, {"name": "a"}]), "functions[2].name"),
        (CreateAssistant, {"model": "m", "tools": [ONE, {"type": "file_search"}, ONE]}, "tools[2].function.name"),
        (CreateRun, run(tools=[ONE, ONE]), "tools[1].function.name"),
        (CreateResponse, {"model": "m", "input": "Hi", "tools": [FLAT, FLAT]}, "tools[1].name"),
        (
            MessagesRequest,
            chat(max_tokens=9, tools=[{"name": "a", "input_schema": {}}, {"name": "a", "input_schema": {}}]),
            "tools[1].name",
        ),
    ],
)
def test_two_tools_of_one_name(model: type[BaseModel], body: dict[str, Any], param: str) -> None:
    error = refused(model, body)
    assert (error.param, error.code) == (param, "invalid_value")
    assert "Another tool goes by the name" in error.message


def test_tools_without_names_are_not_of_one_name() -> None:
    validate({"model": "m", "tools": [{"type": "file_search"}, {"type": "file_search"}, ONE]}, CreateAssistant)


@pytest.mark.parametrize(
    ("choice", "param"),
    [
        (
            {"type": "allowed_tools", "allowed_tools": {"mode": "never", "tools": [ONE]}},
            "tool_choice.allowed_tools.mode",
        ),
        ("sometimes", "tool_choice"),
    ],
)
def test_of_several_forms_the_one_is_told_that_was_meant(choice: Any, param: str) -> None:
    assert refused(ChatCompletionRequest, chat(tools=[ONE], tool_choice=choice)).param == param


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "array"},
        {"type": "object", "anyOf": []},
        {"type": "object", "properties": {"a": {"oneOf": []}}},
        {"type": "object", "properties": {}},
        {"type": "object", "properties": {"a": {}}, "additionalProperties": False},
        {"type": "object", "properties": {}, "additionalProperties": False, "$defs": {"a": {"type": "array"}}},
        {"type": "object", "pattern": "a" * 257},
        {"type": "object", "enum": [*range(1001)], "additionalProperties": False},
        {"$ref": "#"},
        {"type": "object", "description": "a" * 65_536},
    ],
)
def test_no_words_of_the_validators_stand_in_front_of_a_schemas_own(schema: dict[str, Any]) -> None:
    named = {"name": "n", "strict": True, "schema": schema}
    error = refused(ChatCompletionRequest, chat(response_format={"type": "json_schema", "json_schema": named}))
    assert "Value error" not in error.message
    function = {"name": "n", "strict": True, "parameters": schema}
    error = refused(ChatCompletionRequest, chat(tools=[{"type": "function", "function": function}]))
    assert "Value error" not in error.message


def test_one_module_alone_tells_what_the_validator_found() -> None:
    """So whatever a schema raises is told clean."""
    sources = Path(gateway.__path__[0]).rglob("*.py")
    named = {path.name for path in sources if "ValidationError" in path.read_text("utf-8")}
    assert named == {"body.py", "refusals.py"}


def test_a_field_of_any_length_is_cut() -> None:
    class Closed(RequestModel, extra="forbid"):
        """Knows nothing."""

    assert refused(Closed, {"a" * 1000: 1}).param == "a" * 200
    assert len(refused(EmbeddingsRequest, {"model": "m", "input": [10**60]}).message) < 400


@pytest.mark.parametrize("model", [CreateConversation, CreateItems])
def test_items_of_a_conversation_are_a_list(model: type[BaseModel]) -> None:
    error = refused(model, {"items": "Hi"})
    assert (error.param, error.code) == ("items", "invalid_type")
    assert error.message == "Invalid type for 'items': expected an array, but got a string instead."

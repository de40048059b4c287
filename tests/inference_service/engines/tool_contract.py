"""What every engine promises of schemas and of calling functions. Part of `EngineContract`."""

from __future__ import annotations

import json
from typing import Any, ClassVar

import jsonschema_rs
import pytest

from inference_service.engines.client import EngineClient
from inference_service.engines.engine import Engine
from jan.errors import InvalidArgumentError
from tests.inference_service.engines.asking import (
    CITY,
    MESSAGES,
    TOOLS,
    call_of,
    formatted,
    in_object,
    streamed,
    suppress_too_long,
    whole,
)
from tests.inference_service.engines.traits import Trait

STRICT: tuple[dict[str, Any], ...] = (
    {"type": "number", "minimum": 1, "maximum": 5},
    {"type": "integer", "multipleOf": 10},
    {"type": "string", "pattern": r"^\d{3}$"},
    {"type": "string", "pattern": "[0-9]{3}"},
    {"type": "string", "pattern": "^[^@]{12}$"},
    {"type": "string", "pattern": "^[^@]{2,10}@[^@]{2,10}$"},
    {"type": "string", "format": "ipv4"},
    {"type": "string", "format": "email", "maxLength": 20},
    {"anyOf": [{"type": "null"}, {"$ref": "#"}]},
    {"maxLength": 2, "minimum": 3, "type": ["string", "number"]},
)
UNBOUND: tuple[dict[str, Any], ...] = (
    {"type": "string", "pattern": "^(?=a)[a-z]$"},
    {"type": "string", "format": "uri"},
    {"type": "array", "items": {"type": "string"}, "uniqueItems": True},
)


class ToolContract:
    traits: ClassVar[frozenset[Trait]] = frozenset()

    async def test_keeps_to_a_json_schema(self, engine: Engine, client: EngineClient) -> None:
        response_format = {"type": "json_schema", "json_schema": {"name": "city", "strict": True, "schema": CITY}}
        request = {"messages": MESSAGES, "max_tokens": 40, "temperature": 0, "response_format": response_format}
        answer = await whole(engine, client, request)
        assert answer["choices"][0]["finish_reason"] == "stop"
        said = json.loads(answer["choices"][0]["message"]["content"])
        assert set(said) == {"city"}
        assert said["city"] in {"Paris", "Rome"}

    @pytest.mark.parametrize("schema", STRICT, ids=str)
    async def test_all_that_a_strict_schema_says_is_kept(
        self, engine: Engine, client: EngineClient, schema: dict[str, Any]
    ) -> None:
        whole_schema = in_object(schema)
        request = {"messages": MESSAGES, "max_tokens": 60, "temperature": 0, **formatted(whole_schema)}
        if Trait.HANDS_SCHEMAS_ON in self.traits:
            assert engine.chat_call(request).body["response_format"] == request["response_format"]
            return
        choice = (await whole(engine, client, request))["choices"][0]
        text = choice["message"]["content"]
        if choice["finish_reason"] == "stop":
            jsonschema_rs.validate(whole_schema, json.loads(text), validate_formats=True)
        assert text.startswith('{"a":')

    async def test_a_strict_function_is_called_as_it_says(self, engine: Engine, client: EngineClient) -> None:
        parameters = in_object({"type": "number", "minimum": 1, "maximum": 5})
        tools = [{"type": "function", "function": {"name": "f", "strict": True, "parameters": parameters}}]
        request = {"messages": MESSAGES, "max_tokens": 60, "temperature": 0, "tools": tools, "tool_choice": "required"}
        if Trait.HANDS_SCHEMAS_ON in self.traits:
            assert engine.chat_call(request).body["tools"] == tools
            return
        choice = (await whole(engine, client, request))["choices"][0]
        if choice["finish_reason"] == "tool_calls":
            (call,) = choice["message"]["tool_calls"]
            jsonschema_rs.validate(parameters, json.loads(call["function"]["arguments"]))

    @pytest.mark.parametrize("schema", UNBOUND, ids=str)
    async def test_what_of_a_strict_schema_does_not_bind_is_refused(
        self, engine: Engine, client: EngineClient, schema: dict[str, Any]
    ) -> None:
        request = {"messages": MESSAGES, "max_tokens": 8, "temperature": 0}
        if Trait.HANDS_SCHEMAS_ON in self.traits:
            asked = {**request, **formatted(in_object(schema))}
            assert engine.chat_call(asked).body["response_format"] == asked["response_format"]
            return
        with pytest.raises(InvalidArgumentError, match=r"at properties\.a is not supported") as caught:
            await whole(engine, client, {**request, **formatted(in_object(schema))})
        assert (caught.value.param, caught.value.code) == ("response_format", "unsupported_schema")
        answer = await whole(engine, client, {**request, **formatted(in_object(schema), strict=False)})
        assert answer["choices"][0]["message"]["content"].startswith('{"a":')

    @pytest.mark.parametrize(
        ("choice", "reason"),
        [("required", "tool_calls"), ({"type": "function", "function": {"name": "time"}}, "stop")],
    )
    @pytest.mark.parametrize("stream", [False, True])
    async def test_calls_what_it_must(
        self, engine: Engine, client: EngineClient, choice: object, reason: str, stream: bool
    ) -> None:
        request = {"messages": MESSAGES, "max_tokens": 60, "temperature": 0, "tools": TOOLS, "tool_choice": choice}
        if stream:
            chunks = await streamed(engine, client, {**request, "stream": True})
            call, finish_reason = call_of(chunks)
        else:
            answer = (await whole(engine, client, request))["choices"][0]
            assert answer["message"]["content"] is None
            (call,) = answer["message"]["tool_calls"]
            finish_reason = answer["finish_reason"]
        assert finish_reason == reason
        assert call["type"] == "function"
        assert call["id"]
        assert call["function"]["name"] in ({"weather", "time"} if choice == "required" else {"time"})
        assert json.loads(call["function"]["arguments"])["city"] in {"Paris", "Rome"}

    @pytest.mark.parametrize("more", [[], TOOLS])
    async def test_calls_a_function_without_parameters(
        self, engine: Engine, client: EngineClient, more: list[Any]
    ) -> None:
        clock = {"type": "function", "function": {"name": "clock"}}
        choice = {"type": "function", "function": {"name": "clock"}}
        request = {"messages": MESSAGES, "max_tokens": 60, "tools": [clock, *more], "tool_choice": choice}
        (call,) = (await whole(engine, client, request))["choices"][0]["message"]["tool_calls"]
        assert (call["function"]["name"], json.loads(call["function"]["arguments"])) == ("clock", {})

    async def test_may_call_although_its_answer_has_a_schema(self, engine: Engine, client: EngineClient) -> None:
        """Which of both it does is up to the model; what it does is whole."""
        request = {"messages": MESSAGES, "max_tokens": 60, "temperature": 0, "tools": TOOLS, **formatted(CITY)}
        choice = (await whole(engine, client, request))["choices"][0]
        calls = choice["message"].get("tool_calls")
        assert choice["finish_reason"] == ("tool_calls" if calls else "stop")
        assert (choice["message"]["content"] is None) is bool(calls)
        said = calls[0]["function"]["arguments"] if calls else choice["message"]["content"]
        assert json.loads(said)["city"] in {"Paris", "Rome"}

    async def test_tools_that_it_may_call_do_no_harm(self, engine: Engine, client: EngineClient) -> None:
        request = {"messages": MESSAGES, "max_tokens": 4, "temperature": 0, "tools": TOOLS, "tool_choice": "auto"}
        if Trait.REFUSES_TO_CHOOSE_TOOLS in self.traits:
            with pytest.raises(InvalidArgumentError, match="tool_call_parser"):
                engine.chat_call(request)
            return
        message = (await whole(engine, client, request))["choices"][0]["message"]
        called = bool(message.get("tool_calls"))
        assert called is (Trait.NO_TOOLS_IN_TEMPLATE not in self.traits)
        assert called or message["content"]

    async def test_tools_that_it_may_not_call_are_not_called(self, engine: Engine, client: EngineClient) -> None:
        request = {"messages": MESSAGES, "max_tokens": 4, "temperature": 0, "tools": TOOLS, "tool_choice": "none"}
        message = (await whole(engine, client, request))["choices"][0]["message"]
        assert message["content"]
        assert "tool_calls" not in message

    async def test_reads_a_call_and_its_result(self, engine: Engine, client: EngineClient) -> None:
        call = {"id": "call_1", "type": "function", "function": {"name": "time", "arguments": '{"city":"Rome"}'}}
        told = [
            *MESSAGES,
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "call_1", "content": "noon"},
        ]
        answer = await whole(engine, client, {"messages": told, "max_tokens": 4, "tools": TOOLS, "tool_choice": "none"})
        assert answer["choices"][0]["message"]["content"]

    @pytest.mark.parametrize(
        "arguments", ["", "{no json", "[1]", '"x"', "[" * 50_000, '{"a":' + "[" * 50_000 + "]" * 50_000 + "}"]
    )
    async def test_reads_whatever_a_call_says_and_whosever_result(
        self, engine: Engine, client: EngineClient, arguments: str
    ) -> None:
        """Models write such arguments, and clients tell them again; results may belong to no call."""
        calls = [
            {"id": f"call_{number}", "type": "function", "function": {"name": "time", "arguments": arguments[:1_000]}}
            for number in (1, 2)
        ]
        calls[0]["function"] = {"name": "time", "arguments": arguments}
        told = [
            *MESSAGES,
            {"role": "assistant", "content": None, "tool_calls": calls},
            {"role": "tool", "tool_call_id": "call_2", "content": "noon"},
            {"role": "tool", "tool_call_id": "unknown", "content": "one"},
        ]
        request = {"messages": told, "max_tokens": 2, "tools": TOOLS, "tool_choice": "none"}
        with suppress_too_long():
            assert (await whole(engine, client, request))["choices"][0]["message"]["content"]
        assert await whole(engine, client, {"messages": MESSAGES, "max_tokens": 1})

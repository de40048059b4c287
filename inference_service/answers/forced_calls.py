"""A tool call that the client demands: made certain by a JSON schema, and shaped back into a call. Pure.

With OpenAI `tool_choice` binds. Engines bind it loosely: llama.cpp ignores it when the model's chat template knows no
tools, and vLLM lets a function that is not `strict` be called with any JSON value, `"gaben"` for one. A JSON schema
they both obey, so the call is asked for as an answer of that schema, and what they write is told as the call it is.

Nor do engines let a model choose between a call and an answer that has a schema of its own (`tools` beside
`response_format`): they bind the answer, and it never calls. So it is asked for by a schema that allows both.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self
from uuid import uuid4

import orjson

from inference_service.answers.answer import Answer, PassedOn
from inference_service.answers.call_or_answer import CallOrAnswer
from jan.json_schema import rewritten

_HEAD = re.compile(r'\s*\{\s*"name"\s*:\s*"([a-zA-Z0-9_-]+)"\s*,\s*"arguments"\s*:\s*(?=\{)')
_ANSWER: Final = "#/$defs/the.answer"  # no function's name holds a dot
_NAMES: Final = ("$id", "$schema")  # of a whole schema, which this may be no longer
_MORE: Final = frozenset({"additionalProperties", "patternProperties", "$ref", "allOf", "anyOf", "oneOf", "if"})
_NO_ARGUMENTS: Mapping[str, Any] = {"type": "object", "properties": {}}


@dataclass(frozen=True, slots=True)
class ForcedCall:
    """What must be called: one function, or one of several.

    by_name: the client named it. or_answer: the schema of an answer that may be given instead.
    """

    functions: tuple[Mapping[str, Any], ...]
    by_name: bool
    or_answer: Mapping[str, Any] | None = None

    @classmethod
    def of(cls, request: Mapping[str, Any], answer: Mapping[str, Any] | None = None) -> Self | None:
        """What a validated chat request demands; None when the model may write text, or must not call.

        answer: the schema of the answer that the request asks for, if it has one.
        """
        choice = request.get("tool_choice")
        functions = tuple({tool["function"]["name"]: tool["function"] for tool in request.get("tools") or ()}.values())
        if choice == "required":
            return cls(functions, by_name=False)
        if isinstance(choice, Mapping):
            name = choice["function"]["name"]
            return cls(tuple(function for function in functions if function["name"] == name), by_name=True)
        if functions and answer is not None and choice != "none":
            return cls(functions, by_name=False, or_answer=answer)
        return None

    @property
    def schema(self) -> Mapping[str, Any]:
        """The schema of an answer that is the call: the arguments alone where the function is certain."""
        if self.only_name is not None:
            return arguments_schema(self.functions[0])
        calls = [_call_schema(function["name"]) for function in self.functions]
        definitions = {f["name"]: _moved(arguments_schema(f), f"#/$defs/{f['name']}") for f in self.functions}
        if self.or_answer is not None:
            calls.append({"$ref": _ANSWER})
            definitions[_ANSWER.rpartition("/")[2]] = _moved(_nameless(self.or_answer), _ANSWER)
        return {"anyOf": calls, "$defs": definitions}

    @property
    def only_name(self) -> str | None:
        """The function that will be called; None while the model may choose."""
        is_certain = len(self.functions) == 1 and self.or_answer is None
        name: str | None = self.functions[0]["name"] if is_certain else None
        return name

    def told_to(self, messages: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        """The conversation for a model whose chat template knows no tools: they are explained in its first message."""
        lines = [orjson.dumps(function).decode() for function in self.functions]
        shape = "its arguments" if self.only_name else '{"name": <function>, "arguments": <object>}'
        told = f"Call one of these functions for the user. Answer with {shape} as JSON only."
        if self.or_answer is not None:
            schema = orjson.dumps(self.or_answer).decode()
            told = (
                f"Answer as JSON of this schema: {schema}\nBefore, you may call one of these functions: write {shape}."
            )
        told = "\n".join([told, *lines])
        first = messages[0]
        if first["role"] == "system":
            return [{**first, "content": f"{first.get('content') or ''}\n\n{told}"}, *messages[1:]]
        return [{"role": "system", "content": told}, *messages]


class ForcedCallAnswer(PassedOn):
    """An answer whose text is a forced call, told to `inner` as that call; or as it is, where it may answer instead."""

    __slots__ = ("_forced", "_kinds", "_readers")

    def __init__(self, inner: Answer, forced: ForcedCall) -> None:
        """`inner` writes OpenAI's form, as for a call that the engine shaped itself."""
        super().__init__(inner)
        self._forced = forced
        self._readers: dict[int, _CallReader] = {}
        self._kinds: dict[int, CallOrAnswer] = {}

    def feed(self, chunk: Mapping[str, Any]) -> list[bytes]:
        """See `Answer.feed`."""
        choices = [told for choice in chunk["choices"] for told in self._told(choice)]
        return self._inner.feed({**chunk, "choices": choices})

    def _told(self, choice: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        if self._forced.or_answer is None:
            return [self._call(choice)]
        kind = self._kinds.get(choice["index"])
        if kind is None:
            kind = self._kinds[choice["index"]] = CallOrAnswer(f["name"] for f in self._forced.functions)
        held = kind.hear(choice)
        return [self._call(said) for said in held] if kind.is_call else held

    def _call(self, choice: Mapping[str, Any]) -> dict[str, Any]:
        delta = dict(choice.get("delta") or {})
        text = delta.pop("content", None)
        reader = self._readers.get(choice["index"])
        if reader is None:
            reader = self._readers[choice["index"]] = _CallReader(self._forced.only_name)
        calls = reader.feed(text) if text else []
        if calls:
            delta["tool_calls"] = calls
        reason = choice.get("finish_reason")
        if reason == "stop" and reader.has_begun and not self._forced.by_name:
            reason = "tool_calls"  # OpenAI says `stop` after a function that the client named
        return {**choice, "delta": delta, "logprobs": None, "finish_reason": reason}


class _CallReader:
    """Finds the call in the text of one choice, in pieces as they come: its name, then its arguments to their end."""

    def __init__(self, name: str | None) -> None:
        self._name = name
        self._head = ""
        self.has_begun = False
        """Whether the call's name is known, and was told."""
        self._closed = False
        self._depth = 0
        self._in_string = False
        self._escaped = False

    def feed(self, text: str) -> list[dict[str, Any]]:
        """The tool call deltas that this piece gives."""
        deltas: list[dict[str, Any]] = []
        if not self.has_begun:
            self._head += text
            found = self._find()
            if found is None:
                return deltas
            name, text = found
            self.has_begun = True
            named = {"name": name, "arguments": ""}
            deltas.append({"index": 0, "id": f"call_{uuid4().hex[:24]}", "type": "function", "function": named})
        arguments = self._to_the_end(text)
        if arguments:
            deltas.append({"index": 0, "function": {"arguments": arguments}})
        return deltas

    def _find(self) -> tuple[str, str] | None:
        """The function's name and what follows it, once the arguments begin."""
        if self._name is not None:
            rest = self._head.lstrip()
            return (self._name, rest) if rest else None
        head = _HEAD.match(self._head)
        return (head[1], self._head[head.end() :]) if head else None

    def _to_the_end(self, text: str) -> str:
        """The part of `text` that belongs to the arguments' object; nothing once it was closed."""
        if self._closed:
            return ""
        for place, character in enumerate(text):
            if self._in_string:
                self._in_string = self._escaped or character != '"'
                self._escaped = character == "\\" and not self._escaped
            elif character == '"':
                self._in_string = True
            elif character in "{[":
                self._depth += 1
            elif character in "}]":
                self._depth -= 1
                self._closed = self._depth <= 0
                if self._closed:
                    return text[: place + 1]
        return text


def arguments_schema(function: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema of a function's arguments, which are always an object, whatever its author left out.

    Without `parameters` a function takes none (OpenAI's API reference). It takes no others than those named, unless
    something in the schema says more: small models add some until their limit.
    """
    parameters = {**_nameless(function.get("parameters") or _NO_ARGUMENTS), "type": "object"}
    if "properties" in parameters and not _MORE & parameters.keys():
        parameters["additionalProperties"] = False
    return parameters


def _nameless(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    return {key: value for key, value in schema.items() if key not in _NAMES}


def _call_schema(name: str) -> dict[str, Any]:
    properties = {"name": {"const": name}, "arguments": {"$ref": f"#/$defs/{name}"}}
    return {
        "type": "object",
        "properties": properties,
        "required": ["name", "arguments"],
        "additionalProperties": False,
    }


def _moved(schema: Mapping[str, Any], place: str) -> Any:
    """A schema whose references within itself still hold after it was moved to `place`."""

    def change(node: dict[str, Any]) -> dict[str, Any]:
        reference = node.get("$ref")
        if not isinstance(reference, str) or not reference.startswith("#"):
            return node
        return {**node, "$ref": place + reference[1:]}

    return rewritten(schema, change)

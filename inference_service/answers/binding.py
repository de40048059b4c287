"""What an answer must keep to, in the one language that llama.cpp and vLLM both obey here: llguidance's JSON schemas.

llguidance binds a schema as its standard says, or refuses it. An engine that is given one which llguidance refuses
writes what it likes, so each schema is looked at here first, by the version that is inside of llama.cpp.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

import orjson
from llguidance import LLMatcher, LLTokenizer

from inference_service.answers.binding_errors import at, inexact, patterns, sentence, why_unbound
from inference_service.answers.call_or_answer import head_of_call
from inference_service.answers.forced_calls import ForcedCall, arguments_schema
from inference_service.answers.schema_cost import too_much
from inference_service.answers.schema_forms import (
    normalized,
    with_bounded_integers,
    without_patterns,
    without_vast_bounds,
)
from inference_service.answers.schema_places import Places
from jan.errors import InvalidArgumentError
from jan.json_schema import schemas

_OPTIONS: Final = "x-guidance"
_OF_NUMBERS: Final = ("type", "multipleOf", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
_UNSUPPORTED: Final = "unsupported_schema"
_OBJECT: Final[Mapping[str, Any]] = {"type": "object"}


@dataclass(frozen=True, slots=True)
class Part:
    """A schema of a request. param: its place there. is_strict: all that it says must bind."""

    schema: Mapping[str, Any]
    param: str
    is_strict: bool


@dataclass(frozen=True, slots=True)
class Grammar:
    """A schema that binds: as engines are told it, and as it is checked here. param: its place in the request."""

    schema: Mapping[str, Any]
    param: str
    _matcher: LLMatcher

    def matcher(self) -> LLMatcher:
        """One that has read nothing; its tokens are the bytes of UTF-8."""
        return self._matcher.deep_copy()


@dataclass(frozen=True, slots=True)
class Binding:
    """The schema of a chat's answer, where it stands in the request, and what it was made of.

    compact: without free whitespace, of which small models write too much; not every engine can be told that. answer:
    the part of `schema` that is no call, where it may be either; strict_names: of the functions that are strict.
    """

    schema: Mapping[str, Any]
    param: str
    parts: tuple[Part, ...] = ()
    compact: bool = True
    answer: Mapping[str, Any] | None = None
    strict_names: tuple[str, ...] = ()

    @classmethod
    def of(cls, request: Mapping[str, Any], forced: ForcedCall | None, *, compact: bool = True) -> Self | None:
        """What a validated chat request binds its answer to; None when the model may write what it likes."""
        schema = answer_schema(request)
        asked = (request.get("response_format") or {}).get("json_schema") or {}
        parts: tuple[Part, ...] = (
            () if schema is None else (Part(schema, "response_format", bool(asked.get("strict"))),)
        )
        if forced is None:
            return None if schema is None else cls(schema, "response_format", parts, compact)
        field = "functions" if request.get("answers_functions") else "tools"
        of_calls = tuple(_functions(request["tools"], forced, field))
        if forced.or_answer is None:
            return cls(forced.schema, field, tuple(part for _, part in of_calls), compact)
        strict_names = tuple(name for name, part in of_calls if part.is_strict)
        parts += tuple(part for _, part in of_calls)
        return cls(forced.schema, field, parts, compact, forced.or_answer, strict_names)

    async def grammar(self) -> Grammar:
        """What engines are told. Where nothing is strict, what does not bind is left out of it.

        Raises InvalidArgumentError: something strict does not bind, or nothing does.
        """
        return await asyncio.to_thread(self.compile)

    def compile(self) -> Grammar:
        """The same, in this thread."""
        tokenizer = LLTokenizer("byte")
        for part in self.parts:
            schema = normalized(part.schema)
            _check(schema if part.is_strict else without_vast_bounds(schema), part.param)
            self._check_numbers(schema, part.param, tokenizer)
            if part.is_strict:
                self._check_strict(schema, part.param, tokenizer)
        schema = with_bounded_integers(without_vast_bounds(normalized(self.schema)))
        _check(schema, self.param)
        self._check_distinct(tokenizer)
        schema, matcher = self._loosely(schema, tokenizer)
        if matcher.is_error():
            raise self._refused(schema, matcher.get_error(), tokenizer)
        if _is_dead(matcher.deep_copy()):
            raise InvalidArgumentError(sentence("nothing can satisfy it"), param=self.param, code=_UNSUPPORTED)
        return Grammar(self._told(schema), self.param, matcher)

    def _loosely(self, schema: Mapping[str, Any], tokenizer: LLTokenizer) -> tuple[Mapping[str, Any], LLMatcher]:
        """What of a schema binds, if anything does."""
        matcher = self._matcher(schema, tokenizer)
        if matcher.is_error() and (unbound := _unbound(schema, tokenizer)):
            schema = without_patterns(schema, {text for _, text in unbound})
            matcher = self._matcher(schema, tokenizer)
        return schema, matcher

    def _refused(self, schema: Mapping[str, Any], error: str, tokenizer: LLTokenizer) -> InvalidArgumentError:
        """Why nothing of the schema binds: told of the part that is to blame."""
        for part in self.parts:
            own, matcher = self._loosely(without_vast_bounds(normalized(part.schema)), tokenizer)
            if matcher.is_error():
                return _refusal(own, matcher.get_error(), part.param)
        return _refusal(schema, error, self.param)

    def _check_numbers(self, schema: Mapping[str, Any], param: str, tokenizer: LLTokenizer) -> None:
        """Raises InvalidArgumentError: nothing can be written where a number must be a multiple.

        The compiler takes such a schema (1.0.1): its multiples are never negative.
        """
        for path, node in schemas(schema):
            numbers = {key: node[key] for key in _OF_NUMBERS if key in node}
            if "multipleOf" in numbers and _is_dead(self._matcher(numbers, tokenizer)):
                raise InvalidArgumentError(
                    sentence(f"nothing can satisfy it{at(path)}"), param=param, code=_UNSUPPORTED
                )

    def _check_strict(self, schema: Mapping[str, Any], param: str, tokenizer: LLTokenizer) -> None:
        """Raises InvalidArgumentError: something that the schema says does not bind."""
        if error := self._matcher(schema, tokenizer, lenient=False).get_error():
            raise _refusal(schema, error, param, _unbound(schema, tokenizer))
        if loose := inexact(schema):
            raise InvalidArgumentError(sentence(loose), param=param, code=_UNSUPPORTED)

    def _check_distinct(self, tokenizer: LLTokenizer) -> None:
        """Raises InvalidArgumentError: an answer may look like the call of a function whose arguments are strict."""
        if self.answer is None:
            return
        for name in self.strict_names:
            matcher = self._matcher(self.answer, tokenizer)
            if matcher.consume_tokens(list(head_of_call(name).encode())):
                what = f"an answer may look like a call of '{name}', which is strict"
                raise InvalidArgumentError(sentence(what), param="response_format", code=_UNSUPPORTED)

    def _matcher(self, schema: Mapping[str, Any], tokenizer: LLTokenizer, *, lenient: bool = True) -> LLMatcher:
        return LLMatcher(tokenizer, lark(self._told(schema, lenient=lenient)), log_level=0)

    def _told(self, schema: Mapping[str, Any], *, lenient: bool = True) -> dict[str, Any]:
        """The schema with options of ours, never with a client's."""
        return {**schema, _OPTIONS: {"whitespace_flexible": not self.compact, "lenient": lenient}}


def answer_schema(request: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The schema that a validated chat request asks its answer to keep to; None when it asks for text."""
    asked = request.get("response_format") or {}
    match asked.get("type"):
        case "json_object":
            return _OBJECT
        case "json_schema":
            schema: Mapping[str, Any] = asked["json_schema"].get("schema") or {}
            return schema
    return None


def lark(schema: Mapping[str, Any], before: str = "", rules: str = "") -> str:
    """A grammar of answers that keep to a schema, in llguidance's own language.

    before: what may stand in front of the JSON, in terms of `rules`.
    """
    return f"%llguidance {{}}\nstart: {before} answer\nanswer: %json {orjson.dumps(schema).decode()}{rules}"


def _functions(tools: Sequence[Mapping[str, Any]], forced: ForcedCall, field: str) -> Iterator[tuple[str, Part]]:
    """The name of each function that may be called, and what its arguments keep to."""
    names = {function["name"] for function in forced.functions}
    for place, tool in enumerate(tools):
        function = tool["function"]
        if function["name"] in names and function.get("parameters"):
            path = f"{field}[{place}]" if field == "functions" else f"{field}[{place}].function"
            part = Part(arguments_schema(function), f"{path}.parameters", bool(function.get("strict")))
            yield function["name"], part


def _check(schema: Mapping[str, Any], param: str) -> None:
    """Raises InvalidArgumentError: it costs too much, or a part of it can never end."""
    places = Places(schema)
    if much := too_much(schema, places):
        message = f"No answer can be bound to this schema: it has {much}."
        raise InvalidArgumentError(message, param=param, code="schema_too_complex")
    if (path := places.endless()) is not None:
        what = f"nothing can end what it asks for{at(path)}, as each must hold another of its kind and none may be null"
        raise InvalidArgumentError(sentence(what), param=param, code=_UNSUPPORTED)


def _is_dead(matcher: LLMatcher) -> bool:
    """Whether no text at all can be written."""
    if not matcher.is_error():
        matcher.compute_bitmask()
        return matcher.is_error()
    return False


def _unbound(schema: Mapping[str, Any], tokenizer: LLTokenizer) -> list[tuple[str, str]]:
    """The patterns that do not bind by themselves, with their places."""
    return [
        (place, text)
        for place, text in patterns(schema)
        if LLMatcher(tokenizer, lark({"pattern": text}), log_level=0).is_error()
    ]


def _refusal(
    schema: Mapping[str, Any], error: str, param: str, unbound: Sequence[tuple[str, str]] = ()
) -> InvalidArgumentError:
    return InvalidArgumentError(why_unbound(schema, error, unbound), param=param, code=_UNSUPPORTED)

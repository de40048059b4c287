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

from inference_service.answers.binding_errors import inexact, patterns, sentence, why_unbound, without_patterns
from inference_service.answers.call_or_answer import head_of_call
from inference_service.answers.forced_calls import ForcedCall
from inference_service.answers.schema_cost import too_much
from jan.errors import InvalidArgumentError

_OPTIONS: Final = "x-guidance"
_UNSUPPORTED: Final = "unsupported_schema"
_OBJECT: Final[Mapping[str, Any]] = {"type": "object"}


@dataclass(frozen=True, slots=True)
class Demand:
    """A schema that is `strict`: all that it says must bind. param: its place in the request."""

    schema: Mapping[str, Any]
    param: str


@dataclass(frozen=True, slots=True)
class Grammar:
    """A schema that binds: as engines are told it, and as it is checked here."""

    schema: Mapping[str, Any]
    _matcher: LLMatcher

    def matcher(self) -> LLMatcher:
        """One that has read nothing; its tokens are the bytes of UTF-8."""
        return self._matcher.deep_copy()


@dataclass(frozen=True, slots=True)
class Binding:
    """The schema of a chat's answer, where it stands in the request, and what of it is strict.

    compact: without free whitespace, of which small models write too much; not every engine can be told that. answer:
    the part of `schema` that is no call, where it may be either; strict_names: of the functions that are strict.
    """

    schema: Mapping[str, Any]
    param: str
    demands: tuple[Demand, ...] = ()
    compact: bool = True
    answer: Mapping[str, Any] | None = None
    strict_names: tuple[str, ...] = ()

    @classmethod
    def of(cls, request: Mapping[str, Any], forced: ForcedCall | None, *, compact: bool = True) -> Self | None:
        """What a validated chat request binds its answer to; None when the model may write what it likes."""
        schema = answer_schema(request)
        asked = (request.get("response_format") or {}).get("json_schema") or {}
        demands = (Demand(schema, "response_format"),) if schema is not None and asked.get("strict") else ()
        if forced is not None:
            field = "functions" if request.get("answers_functions") else "tools"
            of_calls = dict(_strict_tools(request["tools"], forced, field))
            if forced.or_answer is None:
                return cls(forced.schema, field, tuple(of_calls.values()), compact)
            either = (*demands, *of_calls.values())
            return cls(forced.schema, field, either, compact, forced.or_answer, tuple(of_calls))
        return None if schema is None else cls(schema, "response_format", demands, compact)

    async def grammar(self) -> Grammar:
        """What engines are told. Where nothing is strict, what does not bind is left out of it.

        Raises InvalidArgumentError: something strict does not bind, or nothing does.
        """
        return await asyncio.to_thread(self.compile)

    def compile(self) -> Grammar:
        """The same, in this thread."""
        if much := too_much(self.schema):
            message = f"No answer can be bound to this schema: it has {much}."
            raise InvalidArgumentError(message, param=self.param, code="schema_too_complex")
        tokenizer = LLTokenizer("byte")
        for demand in self.demands:
            if error := self._matcher(demand.schema, tokenizer, lenient=False).get_error():
                raise _refusal(demand.schema, error, demand.param, _unbound(demand.schema, tokenizer))
            if loose := inexact(demand.schema):
                raise InvalidArgumentError(sentence(loose), param=demand.param, code=_UNSUPPORTED)
        self._check_distinct(tokenizer)
        schema = self.schema
        matcher = self._matcher(schema, tokenizer)
        if matcher.is_error() and (unbound := _unbound(schema, tokenizer)):
            schema = without_patterns(schema, {text for _, text in unbound})
            matcher = self._matcher(schema, tokenizer)
        if matcher.is_error():
            raise _refusal(schema, matcher.get_error(), self.param)
        if _is_endless(matcher.deep_copy()):
            raise InvalidArgumentError(
                sentence("nothing can end what it asks for"), param=self.param, code=_UNSUPPORTED
            )
        return Grammar(self._told(schema), matcher)

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


def _strict_tools(tools: Sequence[Mapping[str, Any]], forced: ForcedCall, field: str) -> Iterator[tuple[str, Demand]]:
    """The name of each function that is strict, and what it demands."""
    names = {function["name"] for function in forced.functions}
    for place, tool in enumerate(tools):
        function = tool["function"]
        if function["name"] in names and function.get("strict") and function.get("parameters"):
            path = f"{field}[{place}]" if field == "functions" else f"{field}[{place}].function"
            yield function["name"], Demand(function["parameters"], f"{path}.parameters")


def _is_endless(matcher: LLMatcher) -> bool:
    """Whether an object begun can only go on and on, such as one that must hold one like itself."""
    matcher.compute_ff_bytes()
    matcher.consume_token(ord("{"))
    return "Too many items" in matcher.get_error()


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

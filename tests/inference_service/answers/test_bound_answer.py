from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from inference_service.answers import schema_cost
from inference_service.answers.binding import Binding
from inference_service.answers.bound_answer import BoundAnswer
from inference_service.answers.shapes import AnswerHead, AnswerWishes
from inference_service.answers.whole import WholeAnswer
from jan.errors import InternalError, InvalidArgumentError

HEAD = AnswerHead("chatcmpl-1", 1_700_000_000, "m")
SCHEMA = {"type": "object", "properties": {"a": {"const": "é"}}, "required": ["a"], "additionalProperties": False}


async def answer(schema: Mapping[str, Any] = SCHEMA, *, n: int = 1, may_be_cut: bool = False) -> BoundAnswer:
    grammar = await Binding(schema, "response_format").grammar()
    return BoundAnswer(WholeAnswer(HEAD, AnswerWishes(n=n)), grammar, may_be_cut=may_be_cut)


def piece(content: str | None, reason: str | None = None, index: int = 0) -> dict[str, Any]:
    return {"choices": [{"index": index, "delta": {"content": content}, "finish_reason": reason}]}


async def test_an_answer_that_keeps_to_its_schema_is_told() -> None:
    bound = await answer()
    for text in (None, "", '{"', 'a":"é', '"}'):
        bound.feed(piece(text))
    bound.feed({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "usage": {"completion_tokens": 5}})
    assert bound.complete
    assert (bound.finish_reason, bound.usage.completion_tokens) == ("stop", 5)
    (data,) = bound.end()
    assert json.loads(data)["choices"][0]["message"]["content"] == '{"a":"é"}'


@pytest.mark.parametrize("pieces", [["x"], ['{"a":"b'], ['{"a":"é"}', "."], ['{"a"', ': "é"}']])
async def test_what_breaks_it_is_an_error_at_once(pieces: list[str]) -> None:
    bound = await answer()
    *kept, broken = pieces
    for text in kept:
        bound.feed(piece(text))
    with pytest.raises(InternalError) as caught:
        bound.feed(piece(broken))
    assert caught.value.code == "schema_broken"


@pytest.mark.parametrize("said", ["", '{"a":'])
async def test_an_end_in_the_middle_is_no_good_end(said: str) -> None:
    bound = await answer()
    bound.feed(piece(said))
    with pytest.raises(InternalError, match="did not keep to the schema"):
        bound.feed(piece(None, "stop"))


async def test_a_schema_that_becomes_too_much_is_the_clients_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema_cost, "MAX_CHOICES", 1_000)
    many = {"type": "object", "properties": {f"p{number}": {} for number in range(600)}}
    bound = await answer({"type": "object", "properties": {"a": many}, "required": ["a"]})
    bound.feed(piece('{"a":'))
    with pytest.raises(InvalidArgumentError, match=r"keep to this schema in the middle of its answer.*2000") as caught:
        bound.feed(piece("{"))
    assert (caught.value.param, caught.value.code) == ("response_format", "schema_too_complex")


async def test_a_limit_or_a_stop_of_the_clients_may_cut_it() -> None:
    for may_be_cut, reason in ((False, "length"), (True, "stop")):
        bound = await answer(may_be_cut=may_be_cut)
        bound.feed(piece('{"a":'))
        bound.feed(piece(None, reason))
        assert bound.complete


async def test_each_choice_is_looked_at_by_itself() -> None:
    bound = await answer(n=2)
    for text in ('{"a":"', "é", '"}'):
        for index in (0, 1):
            bound.feed(piece(text, index=index))
    bound.feed(piece(None, "stop", 0))
    assert not bound.complete
    bound.feed(piece(None, "stop", 1))
    assert bound.complete

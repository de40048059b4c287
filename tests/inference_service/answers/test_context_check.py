from __future__ import annotations

from typing import Any, cast

import pytest

from inference_service.answers.context_check import told_exactly
from inference_service.answers.tokens import TokenQuestion, Tokens
from inference_service.engines.client import EngineClient
from inference_service.engines.engine import Engine
from inference_service.models.model import Copy, Model, RunningModel
from jan.errors import InvalidArgumentError, JanError, UnavailableError

VLLMS = "This model's maximum context length is 8 tokens. However, your prompt contains at least 9 input tokens"
CHAT = {"messages": [{"role": "user", "content": "a b c d e f g h i j"}]}
PROMPTS = {"prompt": ["a b", "a b c d e f g h i j k", "a"]}


class Counting:
    """An engine with a token for each word."""

    ctx_len: int | None = 8

    def __init__(self, fails: JanError | None = None) -> None:
        self.asked = 0
        self._fails = fails

    async def tokenize(self, client: EngineClient, question: TokenQuestion) -> Tokens:
        self.asked += 1
        if self._fails is not None:
            raise self._fails
        text = question.text if question.chat is None else question.chat["messages"][0]["content"]
        return Tokens(range(len(text.split())))


def running(engine: Counting) -> RunningModel:
    return RunningModel(Model("m"), Copy(0, None), cast(Engine, engine), cast(EngineClient, None))


async def refused(engine: Counting, body: dict[str, Any], refusal: JanError) -> JanError:
    with pytest.raises(JanError) as caught:
        async with told_exactly(running(engine), body):
            raise refusal
    return caught.value


def too_long(message: str = VLLMS, param: str = "messages") -> InvalidArgumentError:
    return InvalidArgumentError(message, code="context_length_exceeded", param=param)


@pytest.mark.parametrize(("body", "param", "tokens"), [(CHAT, "messages", 10), (PROMPTS, "prompt", 11)])
async def test_how_long_it_is_is_told_exactly(body: dict[str, Any], param: str, tokens: int) -> None:
    told = await refused(Counting(), body, too_long(param=param))
    assert told.message == (
        f"This model's maximum context length is 8 tokens. However, your {param} resulted in {tokens} tokens. "
        f"Please reduce the length of the {param}."
    )
    assert (told.kind, told.code, told.param) == ("invalid_argument", "context_length_exceeded", param)


@pytest.mark.parametrize("refusal", [too_long("it has 9 tokens"), InvalidArgumentError("at least 9"), JanError("no")])
async def test_other_refusals_are_told_as_they_are(refusal: JanError) -> None:
    engine = Counting()
    assert await refused(engine, CHAT, refusal) is refusal
    assert engine.asked == 0


async def test_megabytes_are_not_counted() -> None:
    engine, refusal = Counting(), too_long()
    assert await refused(engine, {"messages": [{"role": "user", "content": "a " * 2**21}]}, refusal) is refusal
    assert engine.asked == 0


async def test_an_engine_that_does_not_count_changes_nothing() -> None:
    refusal = too_long()
    assert await refused(Counting(UnavailableError("gone")), CHAT, refusal) is refusal

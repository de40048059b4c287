"""What every engine promises of text completions. Part of `EngineContract`."""

from __future__ import annotations

from typing import ClassVar

import pytest

from inference_service.engines.client import EngineClient
from inference_service.engines.engine import Engine
from jan.errors import InvalidArgumentError
from tests.inference_service.engines.asking import (
    completed,
    completed_in_chunks,
)
from tests.inference_service.engines.traits import Trait


class CompletionContract:
    traits: ClassVar[frozenset[Trait]] = frozenset()

    async def test_goes_on_with_prompts(self, engine: Engine, client: EngineClient) -> None:
        request = {"prompt": ["One, two,", "The capital of France is"], "n": 2, "max_tokens": 3, "temperature": 0}
        answer = await completed(engine, client, request)
        assert (answer["object"], answer["model"], answer["id"]) == ("text_completion", "model-1", "chatcmpl-1")
        assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2, 3]
        texts = [choice["text"] for choice in answer["choices"]]
        assert (texts[0], texts[2]) == (texts[1], texts[3])
        assert all(texts)
        assert {choice["finish_reason"] for choice in answer["choices"]} == {"length"}
        assert all(choice["logprobs"] is None for choice in answer["choices"])
        assert answer["usage"]["completion_tokens"] == 12
        for place in (0, 1):
            alone = await completed(engine, client, {**request, "prompt": request["prompt"][place : place + 1], "n": 1})  # type: ignore[index]
            assert alone["choices"][0]["text"] == texts[place * 2]

    async def test_streams_what_it_goes_on_with(self, engine: Engine, client: EngineClient) -> None:
        request = {
            "prompt": ["One, two,", "The capital of France is"],
            "max_tokens": 3,
            "temperature": 0,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        chunks = await completed_in_chunks(engine, client, request)
        whole = await completed(engine, client, {**request, "stream": False})
        for index in (0, 1):
            choices = [choice for chunk in chunks for choice in chunk["choices"] if choice["index"] == index]
            assert "".join(choice["text"] for choice in choices) == whole["choices"][index]["text"]
            assert [choice["finish_reason"] for choice in choices if choice["finish_reason"]] == ["length"]
            assert choices[-1]["finish_reason"] == "length"
        assert {chunk["object"] for chunk in chunks} == {"text_completion"}
        assert all(chunk["usage"] is None for chunk in chunks[:-1])
        assert chunks[-1]["choices"] == []
        assert chunks[-1]["usage"]["completion_tokens"] == 6
        assert chunks[-1]["usage"]["prompt_tokens"] == whole["usage"]["prompt_tokens"]

    async def test_repeats_the_prompt(self, engine: Engine, client: EngineClient) -> None:
        request = {"prompt": ["One, two,"], "max_tokens": 3, "temperature": 0}
        text = "One, two," + (await completed(engine, client, request))["choices"][0]["text"]
        assert (await completed(engine, client, {**request, "echo": True}))["choices"][0]["text"] == text
        chunks = await completed_in_chunks(engine, client, {**request, "echo": True, "stream": True})
        assert "".join(choice["text"] for chunk in chunks for choice in chunk["choices"]) == text

    @pytest.mark.parametrize("echo", [False, True])
    @pytest.mark.parametrize("stream", [False, True])
    async def test_writes_nothing_if_it_is_to(
        self, engine: Engine, client: EngineClient, stream: bool, echo: bool
    ) -> None:
        request = {"prompt": ["One, two,", "Three"], "max_tokens": 0, "echo": echo, "temperature": 0, "n": 2}
        if stream:
            asked = {**request, "stream": True, "stream_options": {"include_usage": True}}
            *chunks, last = await completed_in_chunks(engine, client, asked)
            choices, usage = [choice for chunk in chunks for choice in chunk["choices"]], last["usage"]
        else:
            answer = await completed(engine, client, request)
            choices, usage = answer["choices"], answer["usage"]
        for index in range(4):
            mine = [choice for choice in choices if choice["index"] == index]
            assert "".join(choice["text"] for choice in mine) == (request["prompt"][index // 2] if echo else "")  # type: ignore[index]
            assert mine[-1]["finish_reason"] == "length"
        assert usage["completion_tokens"] == 0
        assert usage["total_tokens"] == usage["prompt_tokens"] > 0

    @pytest.mark.parametrize("stream", [False, True])
    async def test_tells_log_probabilities_in_columns(self, engine: Engine, client: EngineClient, stream: bool) -> None:
        request = {"prompt": ["One, two,"], "max_tokens": 3, "temperature": 0, "logprobs": 2, "stream": stream}
        if stream:
            parts = [
                choice for chunk in await completed_in_chunks(engine, client, request) for choice in chunk["choices"]
            ]
        else:
            parts = (await completed(engine, client, request))["choices"]
        told = [part["logprobs"] for part in parts if part["logprobs"]]
        assert all(set(one) == {"tokens", "token_logprobs", "top_logprobs", "text_offset"} for one in told)
        tokens = [token for one in told for token in one["tokens"]]
        assert "".join(tokens) == "".join(part["text"] for part in parts)
        offsets = [offset for one in told for offset in one["text_offset"]]
        assert offsets == [sum(map(len, tokens[:place])) for place in range(3)]
        for one in told:
            for token, logprob, top in zip(one["tokens"], one["token_logprobs"], one["top_logprobs"], strict=True):
                assert top[token] == logprob <= 0
                assert 2 <= len(top) <= 3

    async def test_log_probabilities_of_completions_come_without_alternatives(
        self, engine: Engine, client: EngineClient
    ) -> None:
        request = {"prompt": ["One, two,"], "max_tokens": 2, "temperature": 0, "logprobs": 0}
        told = (await completed(engine, client, request))["choices"][0]["logprobs"]
        assert [list(top) for top in told["top_logprobs"]] == [[token] for token in told["tokens"]]

    async def test_goes_on_with_tokens_until_a_stop(self, engine: Engine, client: EngineClient) -> None:
        request = {"prompt": [[1, 81, 4626]], "max_tokens": 8, "temperature": 0}
        text = (await completed(engine, client, request))["choices"][0]["text"]
        stop = text[len(text) // 2 :][:3]
        choice = (await completed(engine, client, {**request, "stop": [stop]}))["choices"][0]
        assert (choice["text"], choice["finish_reason"]) == (text[: text.index(stop)], "stop")

    async def test_tells_when_a_prompt_of_text_is_too_long(self, engine: Engine, client: EngineClient) -> None:
        with pytest.raises(InvalidArgumentError, match="maximum context length is 10") as caught:
            await completed(engine, client, {"prompt": ["short", "word " * 5000]})
        assert (caught.value.code, caught.value.param) == ("context_length_exceeded", "prompt")

    async def test_completions_pass_on_only_known_fields(self, engine: Engine) -> None:
        strange = {"prompt_embeds": "x", "grammar": "x", "truncate_prompt_tokens": 1, "user": "ann", "best_of": 3}
        call = engine.completion_call({"prompt": ["x"], "temperature": None, **strange})
        assert not {*strange, "temperature"} & set(call.body)

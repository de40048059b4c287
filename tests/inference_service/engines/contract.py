"""What every engine promises. Subclasses provide the fixtures `engine` (not started) and `busy_slots`.

A difference that is no defect has a name in `Trait`; a class lists those of its engine, and the tests then ask for the
promise that stands in its place. Nothing is skipped.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import ClassVar

import pytest

from inference_service.answers.context_check import check_fits, told_exactly
from inference_service.answers.tokens import TokenQuestion, chat_of
from inference_service.engines.client import EngineClient
from inference_service.engines.engine import Engine
from inference_service.models.model import Copy, Model, RunningModel
from jan.errors import InvalidArgumentError
from tests.inference_service.engines.asking import (
    MESSAGES,
    completed,
    streamed,
    whole,
)
from tests.inference_service.engines.completion_contract import CompletionContract
from tests.inference_service.engines.tool_contract import ToolContract
from tests.inference_service.engines.traits import BusySlots, Trait


class EngineContract(ToolContract, CompletionContract):
    traits: ClassVar[frozenset[Trait]] = frozenset()

    @pytest.fixture
    async def client(self, engine: Engine) -> AsyncIterator[EngineClient]:
        connection = await engine.start()
        async with EngineClient(connection) as client:
            yield client
        await engine.stop()

    async def test_streams_openai_chunks(self, engine: Engine, client: EngineClient) -> None:
        request = {
            "messages": MESSAGES,
            "max_tokens": 6,
            "temperature": 0,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        chunks = await streamed(engine, client, request)
        assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
        assert chunks[-2]["choices"][0] == {"index": 0, "delta": {}, "logprobs": None, "finish_reason": "length"}
        assert chunks[-1]["choices"] == []
        assert chunks[-1]["usage"]["completion_tokens"] == 6
        assert "".join(c["choices"][0]["delta"]["content"] for c in chunks[:-2])
        assert all(set(c) == {"id", "object", "created", "model", "choices", "usage"} for c in chunks)
        assert all(c["usage"] is None for c in chunks[:-1])

    async def test_answers_whole(self, engine: Engine, client: EngineClient) -> None:
        answer = await whole(engine, client, {"messages": MESSAGES, "max_tokens": 4, "temperature": 0})
        assert answer["choices"][0]["finish_reason"] == "length"
        assert answer["choices"][0]["message"]["content"]
        assert answer["choices"][0]["message"]["refusal"] is None
        assert answer["usage"]["completion_tokens"] == 4
        assert answer["model"] == "model-1"

    async def test_answers_several_choices(self, engine: Engine, client: EngineClient) -> None:
        request = {"messages": MESSAGES, "max_tokens": 3, "temperature": 0, "n": 2, "stream": True}
        chunks = await streamed(engine, client, request)
        for index in (0, 1):
            choices = [c for chunk in chunks for c in chunk["choices"] if c["index"] == index]
            assert choices[0]["delta"]["role"] == "assistant"
            assert [c["finish_reason"] for c in choices].count("length") == 1
            assert choices[-1]["finish_reason"] == "length"

    async def test_leaving_frees_the_slot(self, engine: Engine, client: EngineClient, busy_slots: BusySlots) -> None:
        call = engine.chat_call({"messages": MESSAGES, "max_tokens": 2000, "stream": True})
        async with client.chat(call.body) as content:
            await content.readany()
            assert await busy_slots(client) == 1
        while await busy_slots(client):
            pass

    async def test_tells_when_the_prompt_is_too_long(self, engine: Engine, client: EngineClient) -> None:
        call = engine.chat_call({"messages": [{"role": "user", "content": "word " * 5000}], "stream": True})
        with pytest.raises(InvalidArgumentError) as caught:
            async with client.chat(call.body):
                pass
        assert (caught.value.code, caught.value.param) == ("context_length_exceeded", "messages")
        assert "maximum context length is 10" in caught.value.message  # 1000 or 1024 tokens

    async def test_its_tokens_are_those_that_it_reads(self, engine: Engine, client: EngineClient) -> None:
        if Trait.TELLS_NO_TOKENS in self.traits:
            for asking in (engine.tokenize(client, TokenQuestion("a")), engine.detokenize(client, [1])):
                with pytest.raises(InvalidArgumentError) as caught:
                    await asking
                assert (caught.value.code, engine.ctx_len) == ("tokens_unknown", None)
            return
        chat = {"messages": MESSAGES, "max_tokens": 1}
        told = await whole(engine, client, chat)
        assert (
            len((await engine.tokenize(client, TokenQuestion(chat=chat_of(chat)))).ids)
            == told["usage"]["prompt_tokens"]
        )
        gone_on = await completed(engine, client, {"prompt": ["One, two,"], "max_tokens": 1})
        assert len((await engine.tokenize(client, TokenQuestion("One, two,"))).ids) == gone_on["usage"]["prompt_tokens"]
        found = await engine.tokenize(client, TokenQuestion("One, two,", add_special=False, pieces=True))
        assert len(found.pieces) == len(found.ids) > 2
        assert await engine.detokenize(client, found.ids) == "One, two,"
        with pytest.raises(InvalidArgumentError) as caught:
            await engine.detokenize(client, [2**31 - 1])
        assert caught.value.param == "tokens"

    async def test_prompt_and_answer_must_fit_together_when_that_is_asked(
        self, engine: Engine, client: EngineClient
    ) -> None:
        running = RunningModel(Model("model-1"), Copy(0, None), engine, client)
        chat = engine.chat_call({"messages": MESSAGES}).body
        if engine.ctx_len is None:
            await check_fits(running, chat, 10**9)
            return
        tokens = len((await engine.tokenize(client, TokenQuestion(chat=chat_of(chat)))).ids)
        room = engine.ctx_len - tokens
        for limit in (None, 1, room):
            await check_fits(running, chat, limit)
        with pytest.raises(InvalidArgumentError) as caught:
            await check_fits(running, chat, room + 1)
        assert (caught.value.code, caught.value.param) == ("context_length_exceeded", "messages")
        assert caught.value.message == (
            f"This model's maximum context length is {engine.ctx_len} tokens. However, you requested "
            f"{engine.ctx_len + 1} tokens ({tokens} in the messages, {room + 1} in the completion). "
            "Please reduce the length of the messages or completion."
        )
        for prompts, longest in ((["a b c d", "a"], "a b c d"), ([[1, 81, 4626], [1]], None)):
            body = engine.completion_call({"prompt": prompts}).body
            tokens = len((await engine.tokenize(client, TokenQuestion(longest))).ids) if longest else 3
            await check_fits(running, body, engine.ctx_len - tokens)
            with pytest.raises(InvalidArgumentError, match=rf"\({tokens} in your prompt; {engine.ctx_len} for the"):
                await check_fits(running, body, engine.ctx_len)
        # What leaves no room at all is refused by the engine itself, with or without a limit.
        too_long = engine.chat_call({"messages": [{"role": "user", "content": "word " * 5000}]}).body
        await check_fits(running, too_long, 1)
        tokens = len((await engine.tokenize(client, TokenQuestion(chat=chat_of(too_long)))).ids)
        with pytest.raises(InvalidArgumentError, match=rf"your messages resulted in {tokens} tokens\."):
            async with told_exactly(running, too_long), client.chat(too_long):
                pass

    async def test_passes_on_only_known_fields(self, engine: Engine) -> None:
        strange = {"chat_template": "x", "prompt_embeds": "x", "grammar": "x", "n_discard": 1, "user": "ann"}
        call = engine.chat_call({"messages": MESSAGES, "temperature": None, **strange})
        assert not set(strange) & set(call.body)
        assert "temperature" not in call.body

    async def test_starts_again_after_a_stop(self, engine: Engine, client: EngineClient) -> None:
        await engine.stop()
        await engine.stop()
        await engine.start()
        assert await whole(engine, client, {"messages": MESSAGES, "max_tokens": 1})

    async def test_a_whole_answer_is_asked_for_as_it_is_best_broken_off(self, engine: Engine) -> None:
        assert engine.chat_call({"messages": MESSAGES}).streams is (Trait.WHOLE_ANSWERS_STREAM in self.traits)
        assert engine.chat_call({"messages": MESSAGES, "stream": True}).streams

    @pytest.mark.parametrize("stream", [False, True])
    async def test_tells_log_probabilities(self, engine: Engine, client: EngineClient, stream: bool) -> None:
        request = {"messages": MESSAGES, "max_tokens": 3, "temperature": 0, "logprobs": True, "top_logprobs": 2}
        if stream:
            chunks = await streamed(engine, client, {**request, "stream": True})
            logprobs = [choice["logprobs"] for chunk in chunks for choice in chunk["choices"] if choice["logprobs"]]
            entries = [entry for part in logprobs for entry in part["content"]]
            text = "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"])
        else:
            answer = await whole(engine, client, request)
            logprobs = [answer["choices"][0]["logprobs"]]
            entries = logprobs[0]["content"]
            text = answer["choices"][0]["message"]["content"]
        assert all(part["refusal"] is None for part in logprobs)
        assert "".join(entry["token"] for entry in entries) == text
        for entry in entries:
            assert set(entry) == {"token", "logprob", "bytes", "top_logprobs"}
            likely = [one["logprob"] for one in entry["top_logprobs"]]
            assert len(likely) == 2
            assert likely == sorted(likely, reverse=True)
            assert entry["logprob"] == likely[0]

    async def test_log_probabilities_come_without_alternatives(self, engine: Engine, client: EngineClient) -> None:
        answer = await whole(engine, client, {"messages": MESSAGES, "max_tokens": 2, "logprobs": True})
        assert all(entry["top_logprobs"] == [] for entry in answer["choices"][0]["logprobs"]["content"])

    async def test_a_stop_text_ends_the_answer_and_is_not_told(self, engine: Engine, client: EngineClient) -> None:
        request = {"messages": MESSAGES, "max_tokens": 12, "temperature": 0}
        text = (await whole(engine, client, request))["choices"][0]["message"]["content"]
        stop = text[len(text) // 2 :][:4]
        choice = (await whole(engine, client, {**request, "stop": [stop]}))["choices"][0]
        assert (choice["message"]["content"], choice["finish_reason"]) == (text[: text.index(stop)], "stop")
        chunks = await streamed(engine, client, {**request, "stop": [stop], "stream": True})
        pieces = [choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"]]
        assert "".join(pieces) == text[: text.index(stop)]

    async def test_a_seed_repeats_an_answer(self, engine: Engine, client: EngineClient) -> None:
        request = {"messages": MESSAGES, "max_tokens": 8, "temperature": 1.0, "seed": 11}
        first, second = [await whole(engine, client, request) for _ in range(2)]
        assert first["choices"][0]["message"] == second["choices"][0]["message"]

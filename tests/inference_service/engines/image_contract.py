"""What every engine promises of a model with eyes. Subclasses provide `engine` (not started), whose eyes are random.

A random eye sees no cat, but it tells one image from another: what is shown here is that images reach the model whole.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from inference_service.answers.context_check import check_fits
from inference_service.answers.tokens import TokenQuestion, chat_of
from inference_service.engines.client import EngineClient
from inference_service.engines.engine import Engine
from inference_service.models.model import Copy, Model, RunningModel
from jan.errors import InvalidArgumentError
from tests.fixtures.eyes import BLUE, RED, asking, data_url, png
from tests.inference_service.engines.asking import whole

FIRST, SECOND = data_url(png(RED)), data_url(png(BLUE))


async def seen(engine: Engine, client: EngineClient, *urls: str) -> tuple[list[float], int]:
    """The log probabilities of what is said of images, and how many tokens the prompt had."""
    request: dict[str, Any] = {"messages": asking(*urls), "max_tokens": 4, "temperature": 0}
    answer = await whole(engine, client, request | {"logprobs": True, "top_logprobs": 1})
    entries = answer["choices"][0]["logprobs"]["content"]
    return [round(entry["logprob"], 4) for entry in entries], answer["usage"]["prompt_tokens"]


class ImageContract:
    @pytest.fixture
    async def client(self, engine: Engine) -> AsyncIterator[EngineClient]:
        async with EngineClient(await engine.start()) as client:
            yield client
        await engine.stop()

    async def test_it_sees_images_and_tells_them_apart(self, engine: Engine, client: EngineClient) -> None:
        blind, text_tokens = await seen(engine, client)
        first, image_tokens = await seen(engine, client, FIRST)
        second, _ = await seen(engine, client, SECOND)
        again, _ = await seen(engine, client, FIRST)
        both, tokens_of_both = await seen(engine, client, FIRST, SECOND)
        assert first == again
        assert len({tuple(said) for said in (blind, first, second, both)}) == 4
        one = image_tokens - text_tokens
        assert one > 0
        assert tokens_of_both - text_tokens == 2 * one

    async def test_the_tokens_of_images_count_in_the_context(self, engine: Engine, client: EngineClient) -> None:
        _, prompt_tokens = await seen(engine, client, FIRST, SECOND)
        body = engine.chat_call({"messages": asking(FIRST, SECOND)}).body
        assert (await engine.tokenize(client, TokenQuestion(chat=chat_of(body)))).count == prompt_tokens
        running = RunningModel(Model("model-1"), Copy(0, None), engine, client)
        assert engine.ctx_len is not None
        await check_fits(running, body, engine.ctx_len - prompt_tokens)
        with pytest.raises(InvalidArgumentError, match=rf"\({prompt_tokens} in the messages") as caught:
            await check_fits(running, body, engine.ctx_len - prompt_tokens + 1)
        assert caught.value.code == "context_length_exceeded"

    @pytest.mark.parametrize(
        "url", ["http://127.0.0.1:1/a.png", "https://example.com/a.png", "file:///etc/passwd", "/a", "data:video/mp4,"]
    )
    async def test_it_is_never_sent_to_fetch_one(self, engine: Engine, url: str) -> None:
        with pytest.raises(InvalidArgumentError) as caught:
            engine.chat_call({"messages": asking(FIRST, url)})
        expected = ("messages[0].content[2].image_url.url", "invalid_image_url")
        assert (caught.value.param, caught.value.code) == expected

    async def test_what_is_no_image_is_the_clients_mistake(self, engine: Engine, client: EngineClient) -> None:
        with pytest.raises(InvalidArgumentError, match=r"Failed to load image"):
            await whole(engine, client, {"messages": asking(data_url(b"no image")), "max_tokens": 1})

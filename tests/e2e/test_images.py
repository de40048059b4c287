"""A model with eyes, all the way: the stock client, the gateway, the queue and the real llama.cpp.

The eyes are of random weights, so what they make of an image is nonsense, but the same nonsense every time.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import openai
import pytest
from anthropic import Anthropic
from openai import OpenAI

from tests.fixtures.eyes import BLUE, IMAGE_TOKENS, RED, asking, data_url, mmproj, png
from tests.fixtures.stack import MODEL, Stack

pytestmark = [
    pytest.mark.engine,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.*deprecated.*:DeprecationWarning"),
]


@pytest.fixture(scope="module")
def seeing(stack: Stack, demo_gguf: Path) -> Iterator[str]:
    """The demo model with a projector beside it; nobody describes it."""
    name = f"seeing-{uuid4().hex[:8]}"
    folder = stack.janroot / "models" / name
    folder.mkdir()
    (folder / "mmproj-demo-f16.gguf").write_bytes(mmproj())
    (folder / "demo.gguf").symlink_to(demo_gguf)
    yield name
    with stack.client as client:
        client.models.delete(name)


def said(client: OpenAI, model: str, *urls: str) -> tuple[list[float], int]:
    messages: Any = asking(*urls)
    answer = client.chat.completions.create(
        model=model, messages=messages, max_tokens=4, temperature=0, logprobs=True, top_logprobs=1
    )
    logprobs, usage = answer.choices[0].logprobs, answer.usage
    assert logprobs is not None
    assert logprobs.content is not None
    assert usage is not None
    return [round(entry.logprob, 3) for entry in logprobs.content], usage.prompt_tokens


def test_two_images_are_two_answers_and_their_tokens_count(stack: Stack, seeing: str) -> None:
    with stack.client as client:
        assert client.models.retrieve(seeing).model_dump()["sees"]
        red, blue = data_url(png(RED)), data_url(png(BLUE))
        nothing, text_tokens = said(client, seeing)
        first, image_tokens = said(client, seeing, red)
        assert said(client, seeing, red)[0] == first
        assert len({tuple(first), tuple(said(client, seeing, blue)[0]), tuple(nothing)}) == 3
        assert image_tokens - text_tokens == IMAGE_TOKENS


def test_a_run_sees_an_uploaded_image(stack: Stack, seeing: str) -> None:
    with stack.client as client:
        file = client.files.create(file=("blue.png", png(BLUE)), purpose="vision")
        content: Any = [
            {"type": "text", "text": "What is this?"},
            {"type": "image_file", "image_file": {"file_id": file.id}},
        ]
        thread = client.beta.threads.create(messages=[{"role": "user", "content": content}])
        run = client.beta.threads.runs.create_and_poll(
            thread_id=thread.id, assistant_id="jan", model=seeing, max_completion_tokens=256, poll_interval_ms=50
        )
        assert run.status in {"completed", "incomplete"}, run.last_error
        assert run.usage is not None
        assert run.usage.prompt_tokens > IMAGE_TOKENS


def test_an_image_that_a_tool_gave_back_is_seen(stack: Stack, seeing: str) -> None:
    call: Any = {"type": "tool_use", "id": "t1", "name": "screenshot", "input": {}}
    tools: Any = [{"name": "screenshot", "input_schema": {"type": "object"}}]

    def read(client: Anthropic, *content: Any) -> int:
        messages: Any = [
            {"role": "user", "content": "Look at the screen."},
            {"role": "assistant", "content": [call]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": [*content]}]},
        ]
        usage = client.messages.create(model=seeing, max_tokens=4, tools=tools, messages=messages).usage
        return usage.input_tokens + (usage.cache_read_input_tokens or 0)

    data = data_url(png(RED)).partition("base64,")[2]
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": data}}
    with Anthropic(base_url=stack.url, api_key="unused", max_retries=0, timeout=50) as client:
        assert read(client, image) - read(client, {"type": "text", "text": "Nothing."}) >= IMAGE_TOKENS


def test_addresses_are_not_fetched_unless_that_is_allowed(stack: Stack, seeing: str) -> None:
    messages: Any = asking("https://example.com/a.png")
    with stack.client as client:
        with pytest.raises(openai.PermissionDeniedError, match="JANROOT_DOWNLOADS=public"):
            client.chat.completions.create(model=seeing, messages=messages)
        hidden: Any = asking("data:image/svg+xml;base64," + base64.b64encode(b"<svg/>").decode())
        with pytest.raises(openai.BadRequestError, match="no PNG, JPEG, WebP or GIF"):
            client.chat.completions.create(model=seeing, messages=hidden)
        with pytest.raises(openai.BadRequestError, match="cannot see images"):
            client.chat.completions.create(model=MODEL, messages=messages)

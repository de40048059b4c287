"""Documents in messages: the model reads their text, and what cannot be read is refused by name."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import pytest
from anthropic import AsyncAnthropic

from tests.fixtures.gateway import Gateway
from tests.fixtures.worker import ScriptedWorker
from tests.gateway.anthropic.test_messages import MESSAGES, asked
from tests.storage_service.extraction.making import pdf

QUESTION: Any = {"type": "text", "text": "What is it?"}


def about(source: Any, **fields: Any) -> dict[str, Any]:
    """A question about a document."""
    return asked(messages=[{"role": "user", "content": [QUESTION, {"type": "document", "source": source, **fields}]}])


def encoded(data: bytes) -> dict[str, Any]:
    return {"type": "base64", "media_type": "application/pdf", "data": base64.b64encode(data).decode()}


async def shown(client: AsyncAnthropic, worker: ScriptedWorker, **fields: Any) -> str:
    """What the model is shown."""
    asking = asyncio.create_task(client.messages.create(**about(**fields)))
    [said] = (await worker.answer()).body["messages"]
    await asking
    text: str = said["content"]
    return text


async def test_its_text_is_shown_under_its_title(worker: ScriptedWorker, anthropic_client: AsyncAnthropic) -> None:
    told = await shown(
        anthropic_client, worker, source=encoded(pdf("Pears and plums")), title="Fruit", citations={"enabled": False}
    )
    assert told.startswith("What is it?\n\nFile 'Fruit':\n")
    assert "Pears and plums" in told
    plain = {"type": "text", "media_type": "text/plain", "data": "Plums"}
    told = await shown(anthropic_client, worker, source=plain, context="From the garden.")
    assert told == "What is it?\n\nFrom the garden.\nFile 'unnamed':\nPlums\n(End of the file.)"
    blocks = {"type": "content", "content": [{"type": "text", "text": "One"}, {"type": "text", "text": "Two"}]}
    assert "One\nTwo" in await shown(anthropic_client, worker, source=blocks)


@pytest.mark.parametrize(
    ("source", "fields", "named"),
    [
        ({"type": "url", "url": "https://example.org/a.pdf"}, {}, "messages[0].content[1].source"),
        ({"type": "file", "file_id": "file_1"}, {}, "messages[0].content[1].source"),
        (encoded(b"%PDF-1.4 nonsense"), {}, "messages[0].content[1].source"),
        (encoded(b"x") | {"data": "AAAAA"}, {}, "messages[0].content[1].source"),
        (encoded(b"x") | {"media_type": "image/png"}, {}, "messages[0].content[1].source.media_type"),
        (encoded(pdf("Plums")), {"citations": {"enabled": True}}, "messages[0].content[1].citations"),
    ],
)
@pytest.mark.parametrize("path", [MESSAGES, f"{MESSAGES}/count_tokens"])
async def test_what_cannot_be_read_is_refused_by_name(
    gateway: Gateway, path: str, source: Any, fields: dict[str, Any], named: str
) -> None:
    body = about(source, **fields)
    if path != MESSAGES:
        del body["max_tokens"]
    answer = await gateway.json("POST", path, body, status=400)
    assert named in answer["error"]["message"]

"""Documents in messages: the model reads their text, and what cannot be read is refused by name."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import pytest
from anthropic import AsyncAnthropic

from tests.fixtures.gateway import Gateway, write_model
from tests.fixtures.storage import StorageServer
from tests.fixtures.worker import ScriptedWorker
from tests.gateway.anthropic.test_messages import MESSAGES, asked
from tests.storage_service.extraction.making import pdf

QUESTION: Any = {"type": "text", "text": "What is it?"}


FOUND: Any = {
    "type": "search_result",
    "source": "https://example.org/fruit",
    "title": "Fruit",
    "content": [{"type": "text", "text": "Pears"}, {"type": "text", "text": "Plums"}],
}


SHOWN = "Search result 'Fruit' from https://example.org/fruit:\nPears\nPlums\n(End of the search result.)"


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


def given_back(*content: Any, **fields: Any) -> dict[str, Any]:
    """A conversation in which a tool gave this back."""
    call = {"type": "tool_use", "id": "t1", "name": "look", "input": {}}
    result = {"type": "tool_result", "tool_use_id": "t1", "content": [*content]}
    turns = [{"role": "assistant", "content": [call]}, {"role": "user", "content": [result]}]
    return asked(messages=[{"role": "user", "content": [QUESTION]}, *turns], **fields)


async def test_a_tool_may_give_back_documents(worker: ScriptedWorker, anthropic_client: AsyncAnthropic) -> None:
    document = {"type": "document", "source": encoded(pdf("Pears and plums")), "title": "Fruit"}
    asking = asyncio.create_task(anthropic_client.messages.create(**given_back(QUESTION, document, FOUND)))
    [*_, result] = (await worker.answer()).body["messages"]
    await asking
    assert result["role"] == "tool"
    assert result["content"].startswith("What is it?\n\nFile 'Fruit':\n")
    assert "Pears and plums" in result["content"]
    assert result["content"].endswith(SHOWN)


async def test_search_results_are_shown(worker: ScriptedWorker, anthropic_client: AsyncAnthropic) -> None:
    messages: Any = [{"role": "user", "content": [FOUND | {"citations": {"enabled": False}}, QUESTION]}]
    asking = asyncio.create_task(anthropic_client.messages.create(**asked(messages=messages)))
    [said] = (await worker.answer()).body["messages"]
    await asking
    assert said["content"] == f"{SHOWN}\n\nWhat is it?"


@pytest.mark.parametrize(
    ("block", "named"),
    [
        ({"type": "document", "source": encoded(b"%PDF-1.4 nonsense")}, "messages.2.content.0.content.1.source: "),
        ({"type": "document", "source": {"type": "url", "url": "a.pdf"}}, "content.0.content.1.source"),
        ({"type": "search_result", "source": "a", "title": "b", "content": []}, "content.0.content.1.content"),
        (FOUND | {"citations": {"enabled": True}}, "messages.2.content.0.content.1.citations"),
        (FOUND | {"content": [{"type": "image"}]}, "messages.2.content.0.content.1.content.0"),
        ({"type": "tool_reference", "tool_name": "a"}, "messages.2.content.0.content.1"),
        ({"type": "image", "source": {"type": "file", "file_id": "a"}}, "messages.2.content.0.content.1.source"),
    ],
)
async def test_what_a_tool_gave_back_is_refused_by_name(gateway: Gateway, block: Any, named: str) -> None:
    answer = await gateway.json("POST", MESSAGES, given_back(QUESTION, block), status=400)
    assert named in answer["error"]["message"]


@pytest.mark.parametrize("path", [MESSAGES, f"{MESSAGES}/count_tokens"])
async def test_an_image_that_a_tool_gave_back_is_for_models_that_see(
    storage_server: StorageServer, gateway: Gateway, path: str
) -> None:
    write_model(storage_server.janroot, "blind", engine="llamacpp", format="gguf", sources=[])
    image = {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}}
    body = given_back(QUESTION, image, model="blind")
    if path != MESSAGES:
        del body["max_tokens"]
    answer = await gateway.json("POST", path, body, status=400)
    assert answer["error"]["message"].startswith("messages.2.content.0.content.1.source: Model 'blind' cannot see")


@pytest.mark.parametrize(
    ("source", "fields", "named"),
    [
        ({"type": "url", "url": "ftp://example.org/a.pdf"}, {}, "messages.0.content.1.source"),
        ({"type": "content", "content": [FOUND]}, {}, "messages.0.content.1.source.content.0"),
        ({"type": "file", "file_id": "file_1"}, {}, "messages.0.content.1.source"),
        (encoded(b"%PDF-1.4 nonsense"), {}, "messages.0.content.1.source"),
        (encoded(b"<!doctype html><title>Sign in</title>"), {}, "messages.0.content.1.source"),
        (encoded(b"x") | {"data": "AAAAA"}, {}, "messages.0.content.1.source"),
        (encoded(b"x") | {"media_type": "image/png"}, {}, "messages.0.content.1.source.media_type"),
        (encoded(pdf("Plums")), {"citations": {"enabled": True}}, "messages.0.content.1.citations"),
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

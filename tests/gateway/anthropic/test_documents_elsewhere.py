"""Documents that lie at an address, and such as hold images: fetched, and shown, as images are."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import anthropic
import pytest
from anthropic import AsyncAnthropic
from redis.asyncio import Redis

from gateway.anthropic.documents import MAX_FETCHED
from tests.fixtures.eyes import RED, png
from tests.fixtures.gateway import Gateway, running_gateway, write_model
from tests.fixtures.other_server import OtherServer, other_server
from tests.fixtures.redis import RedisServer
from tests.fixtures.storage import StorageServer
from tests.fixtures.worker import ScriptedWorker
from tests.gateway.anthropic.test_documents import about, given_back
from tests.gateway.anthropic.test_messages import MESSAGES
from tests.storage_service.extraction.making import pdf

IMAGE: Any = {"type": "image", "source": {"type": "url", "url": "https://example.org/a.png"}}
PEARS, PLUMS = ({"type": "text", "text": text} for text in ("Pears", "Plums"))
PART: Any = {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}


@pytest.fixture
async def other() -> AsyncIterator[OtherServer]:
    async with other_server() as server:
        server.files = {"/fruit.pdf": pdf("Pears and plums"), "/image": png(RED)}
        yield server


@pytest.fixture
async def gateway(
    storage_server: StorageServer, redis_server: RedisServer, redis: Redis, other: OtherServer
) -> AsyncIterator[Gateway]:
    """It may fetch from the other server alone."""
    write_model(storage_server.janroot)
    hosts = f"127.0.0.1:{other.port}"
    async with running_gateway(storage_server, redis_server, JANROOT_DOWNLOAD_HOSTS=hosts) as gateway:
        yield gateway


def at(url: str) -> dict[str, Any]:
    return {"type": "url", "url": url}


async def shown(client: AsyncAnthropic, worker: ScriptedWorker, body: dict[str, Any]) -> Any:
    """The messages that the model is shown."""
    asking = asyncio.create_task(client.messages.create(**body))
    told = (await worker.answer()).body["messages"]
    await asking
    return told


async def test_a_document_is_fetched(
    worker: ScriptedWorker, anthropic_client: AsyncAnthropic, other: OtherServer
) -> None:
    body = about(at(other.url("/fruit.pdf")), title="Fruit")
    [said] = await shown(anthropic_client, worker, body)
    assert said["content"].startswith("What is it?\n\nFile 'Fruit':\n")
    assert "Pears and plums" in said["content"]
    result = {"type": "document", "source": at(other.url("/fruit.pdf"))}
    [*_, told] = await shown(anthropic_client, worker, given_back(result))
    assert (told["role"], "Pears and plums" in told["content"]) == ("tool", True)


@pytest.mark.parametrize("path", ["/nothing", "/image", "/page"])
async def test_what_is_no_document_is_refused(gateway: Gateway, other: OtherServer, path: str) -> None:
    answer = await gateway.json("POST", MESSAGES, about(at(other.url(path))), status=400)
    assert answer["error"]["message"].startswith("messages.0.content.1.source: ")


async def test_nothing_is_fetched_from_where_it_may_not(anthropic_client: AsyncAnthropic, other: OtherServer) -> None:
    with pytest.raises(anthropic.PermissionDeniedError, match=r"messages.0.content.1.source: The document"):
        await anthropic_client.messages.create(**about(at("http://169.254.169.254/a.pdf")))
    many = [{"type": "document", "source": at(other.url("/fruit.pdf"))}] * (MAX_FETCHED + 1)
    with pytest.raises(anthropic.BadRequestError, match="16 are the most"):
        await anthropic_client.messages.create(**given_back(*many))
    assert other.connections == 0


async def test_images_in_a_document_are_shown(worker: ScriptedWorker, anthropic_client: AsyncAnthropic) -> None:
    body = about({"type": "content", "content": [PEARS, PLUMS, IMAGE, PLUMS]}, title="Fruit", context="Mine.")
    [said] = await shown(anthropic_client, worker, body)
    texts = ("What is it?", "Mine.\nFile 'Fruit':\nPears\nPlums", "Plums\n(End of the file.)")
    question, before, after = ({"type": "text", "text": text} for text in texts)
    assert said["content"] == [question, before, PART, after]


async def test_images_in_a_document_that_a_tool_gave_back(
    worker: ScriptedWorker, anthropic_client: AsyncAnthropic
) -> None:
    document = {"type": "document", "source": {"type": "content", "content": [IMAGE, PEARS]}}
    *_, result, said = await shown(anthropic_client, worker, given_back(IMAGE, document))
    one, other, rest = result["content"].split("\n\n", 2)
    assert (one, other) == ("(See image 1 below.)", "File 'unnamed':")
    assert rest == "(See image 2 below.)\n\nPears\n(End of the file.)"
    numbers = ({"type": "text", "text": f"Image {number}:"} for number in (1, 2))
    assert said["content"] == [next(numbers), PART, next(numbers), PART]


async def test_an_image_in_a_document_is_named_where_it_cannot_be_seen(
    storage_server: StorageServer, gateway: Gateway
) -> None:
    write_model(storage_server.janroot, "blind", engine="llamacpp", format="gguf", sources=[])
    for asked, name in (
        (about({"type": "content", "content": [PEARS, IMAGE]}), "messages.0.content.1"),
        (
            given_back({"type": "document", "source": {"type": "content", "content": [PEARS, IMAGE]}}),
            "messages.2.content.0.content.0",
        ),
    ):
        answer = await gateway.json("POST", MESSAGES, asked | {"model": "blind"}, status=400)
        assert answer["error"]["message"].startswith(f"{name}.source.content.1.source: Model 'blind' cannot see")

"""Images in the input: shown to a model that sees, kept in the thread, and refused by name where nobody sees them."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from openai import AsyncOpenAI

from tests.fixtures.eyes import RED, data_url, png
from tests.fixtures.gateway import MODEL_ID, Gateway, write_model
from tests.fixtures.storage import StorageServer
from tests.fixtures.worker import ScriptedWorker
from tests.gateway.batches.batch_files import line, lines, new_batch, results, until
from tests.gateway.client import refusal, upload
from tests.gateway.responses.test_responses import respond

IMAGE = data_url(png(RED))
SEEING, BLIND = "seeing", "blind"


@pytest.fixture(autouse=True)
def models(gateway: Gateway, storage_server: StorageServer) -> None:
    """A remote model that sees, as its setting says, and one that runs here and does not."""
    write_model(storage_server.janroot, SEEING, settings={"vision_model": True})
    write_model(storage_server.janroot, BLIND, engine="llamacpp", format="gguf", sources=[])


def asking(**image: Any) -> list[Any]:
    """A question about an image."""
    return [{"role": "user", "content": [{"type": "input_text", "text": "Who?"}, {"type": "input_image", **image}]}]


def shown(body: Any, place: int = 0) -> list[str]:
    """The kinds of a message's parts, as the engine is asked; images must have come along."""
    content = body["messages"][place]["content"]
    assert all(part["image_url"]["url"].startswith("data:image/") for part in content if part["type"] == "image_url")
    return [part["type"] for part in content]


@pytest.mark.parametrize("store", [True, False])
async def test_an_image_is_shown_and_kept(worker: ScriptedWorker, openai_client: AsyncOpenAI, store: bool) -> None:
    first, body = await respond(
        openai_client, worker, model=SEEING, input=asking(image_url=IMAGE, detail="low"), store=store
    )
    assert shown(body) == ["text", "image_url"]
    if store:
        [item] = (await openai_client.responses.input_items.list(first.id)).data
        kept = item.model_dump(exclude_none=True)["content"][1]
        assert kept == {"type": "input_image", "detail": "low", "image_url": IMAGE}
        _, body = await respond(openai_client, worker, model=SEEING, input="And?", previous_response_id=first.id)
        assert shown(body) == ["text", "image_url"]


async def test_an_upload_is_shown(gateway: Gateway, worker: ScriptedWorker, openai_client: AsyncOpenAI) -> None:
    file = await upload(gateway.client, png(RED), "a.png", purpose="vision")
    _, body = await respond(openai_client, worker, model=SEEING, input=asking(file_id=file["id"]))
    assert shown(body) == ["text", "image_url"]


@pytest.mark.parametrize("store", [True, False])
async def test_a_remote_model_is_shown_what_its_chats_are_shown(
    gateway: Gateway, worker: ScriptedWorker, openai_client: AsyncOpenAI, store: bool
) -> None:
    url = "https://images.example/a.png"
    chat = {"model": MODEL_ID, "messages": [{"role": "user", "content": [{"type": "text", "text": "Who?"}]}]}
    chat["messages"][0]["content"].append({"type": "image_url", "image_url": {"url": url, "detail": "auto"}})  # type: ignore[index]
    chatting = asyncio.create_task(gateway.json("POST", "/v1/chat/completions", chat))
    job = await worker.take()
    await job.answer_whole("Tom.")
    await chatting
    _, body = await respond(openai_client, worker, model=MODEL_ID, input=asking(image_url=url), store=store)
    assert body["messages"] == job.body["messages"]


@pytest.mark.parametrize(
    ("model", "image", "code"),
    [
        (BLIND, {"image_url": IMAGE}, "unsupported_content"),
        (SEEING, {}, "missing_required_parameter"),
        (SEEING, {"image_url": IMAGE, "file_id": "file-a"}, "missing_required_parameter"),
        (SEEING, {"image_url": "file:///etc/passwd"}, "invalid_value"),
    ],
)
async def test_what_cannot_be_seen(gateway: Gateway, model: str, image: dict[str, Any], code: str) -> None:
    body = {"model": model, "input": asking(**image)}
    status, error = await refusal(gateway.client, "POST", "/v1/responses", json=body)
    assert (status, error["code"]) == (400, code)
    assert error["param"].startswith("input[0].content[1]")
    assert (await gateway.json("GET", "/v1/threads"))["data"] == []


async def test_a_stored_response_whose_image_is_none_fails(
    gateway: Gateway, worker: ScriptedWorker, openai_client: AsyncOpenAI
) -> None:
    nonsense = (await upload(gateway.client, b"nonsense", "a.png", purpose="vision"))["id"]
    response = await openai_client.responses.create(model=SEEING, input=asking(file_id=nonsense))
    assert response.status == "failed"
    assert response.error is not None
    asked = [{"role": "assistant", "content": "Show me."}, *asking(image_url=IMAGE), *asking(file_id=nonsense)]
    body = {"model": SEEING, "input": asked, "store": False}
    status, error = await refusal(gateway.client, "POST", "/v1/responses", json=body)
    assert (status, error["param"]) == (400, "input[2].content[1].file_id")


@pytest.mark.parametrize("path", ["compact", "input_tokens"])
async def test_who_cannot_see_it_neither_sums_it_up_nor_counts_it(gateway: Gateway, path: str) -> None:
    body = {"model": BLIND, "input": asking(image_url=IMAGE)}
    status, error = await refusal(gateway.client, "POST", f"/v1/responses/{path}", json=body)
    assert (status, error["param"], error["code"]) == (400, "input[0].content[1].image_url", "unsupported_content")


async def test_images_are_not_counted(gateway: Gateway, worker: ScriptedWorker, openai_client: AsyncOpenAI) -> None:
    first, _ = await respond(openai_client, worker, model=SEEING, input=asking(image_url=IMAGE))
    for fields, named in (
        ({"input": asking(image_url=IMAGE)}, "input[0].content[1].image_url"),
        ({"input": "And?", "previous_response_id": first.id}, "previous_response_id"),
    ):
        body = {"model": SEEING, **fields}
        status, error = await refusal(gateway.client, "POST", "/v1/responses/input_tokens", json=body)
        assert (status, error["param"], error["code"]) == (400, named, "unsupported_content")


async def test_an_image_is_kept_beside_the_summary(worker: ScriptedWorker, openai_client: AsyncOpenAI) -> None:
    said = [*asking(image_url=IMAGE), {"role": "assistant", "content": "Tom."}, {"role": "user", "content": "Sure?"}]
    asking_for_it = asyncio.create_task(openai_client.responses.compact(model=SEEING, input=said))
    body = (await worker.answer(["It shows Tom."])).body
    assert "USER: Who?\n[an image, which is kept]" in body["messages"][1]["content"]
    compaction = await asking_for_it
    sent: list[Any] = [item.model_dump(exclude_none=True, warnings=False) for item in compaction.output]
    assert [item["type"] for item in sent] == ["compaction", "message", "message"]
    _, body = await respond(openai_client, worker, model=SEEING, input=sent)
    assert shown(body, 1) == ["text", "image_url"]


async def test_in_a_batch(gateway: Gateway, worker: ScriptedWorker) -> None:
    asked = {
        name: {"model": model, "input": asking(image_url=IMAGE), "store": store}
        for name, model, store in (("kept", SEEING, True), ("gone", SEEING, False), ("blind", BLIND, True))
    }
    requests = [line(name, body, url="/v1/responses") for name, body in asked.items()]
    batch = await new_batch(gateway, lines(requests), endpoint="/v1/responses")
    for _ in range(2):
        taken = await worker.answer(["red"])
        assert shown(json.loads(taken.job.body)) == ["text", "image_url"]
    ended = await until(gateway, batch)
    assert set(await results(gateway, ended["output_file_id"])) == {"kept", "gone"}
    assert list(await results(gateway, ended["error_file_id"])) == ["blind"]

"""Images in chats and in threads: from wherever people name them, into the request that the engine gets."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from PIL import Image
from redis.asyncio import Redis

from gateway.images.bounds import IMAGE_TOKENS, MAX_IMAGES
from gateway.images.reading import bytes_of
from gateway.runs.conversation import UNSEEN_IMAGE
from tests.fixtures.eyes import BLUE, RED, asking, data_url, png
from tests.fixtures.gateway import Gateway, running_gateway, write_model
from tests.fixtures.other_server import OtherServer, other_server
from tests.fixtures.redis import RedisServer
from tests.fixtures.storage import StorageServer
from tests.fixtures.worker import ScriptedWorker, TakenByTest
from tests.gateway.routes.test_runs import start, until_ended

CHAT = "/v1/chat/completions"
SEEING, BLIND = "seeing", "blind"
LOCAL = {"engine": "llamacpp", "format": "gguf", "sources": []}


@pytest.fixture
async def other() -> AsyncIterator[OtherServer]:
    async with other_server() as server:
        server.files = {"/red.png": png(RED), "/page": b"<html>", "/huge": bytes(21 * 1024 * 1024)}
        yield server


@pytest.fixture
async def gateway(
    storage_server: StorageServer, redis_server: RedisServer, redis: Redis, other: OtherServer
) -> AsyncIterator[Gateway]:
    """With a model that sees, one that does not, and a remote one; it may fetch from the other server alone."""
    write_model(storage_server.janroot)
    for name in (SEEING, BLIND):
        write_model(storage_server.janroot, name, **LOCAL, settings={"llama_model_path": "m.gguf"})
        (storage_server.janroot / "models" / name / "m.gguf").write_bytes(b"GGUF")
    (storage_server.janroot / "models" / SEEING / "mmproj-m-f16.gguf").write_bytes(b"GGUF")
    hosts = f"127.0.0.1:{other.port}"
    async with running_gateway(storage_server, redis_server, JANROOT_DOWNLOAD_HOSTS=hosts) as gateway:
        yield gateway


async def upload(gateway: Gateway, image: bytes) -> str:
    form = aiohttp.FormData({"purpose": "vision"})
    form.add_field("file", image, filename="a.png")
    async with gateway.client.post("/v1/files", data=form) as answer:
        return str((await answer.json())["id"])


async def asked(gateway: Gateway, worker: ScriptedWorker, messages: list[dict[str, Any]]) -> TakenByTest:
    """What the engine is asked when a chat is."""
    asking_ = asyncio.create_task(gateway.json("POST", CHAT, {"model": SEEING, "messages": messages}))
    taken = await worker.take()
    await taken.answer_whole("red")
    await asking_
    return taken


async def refused(gateway: Gateway, *urls: str, status: int = 400, model: str = SEEING) -> tuple[str, str | None]:
    body = {"model": model, "messages": asking(*urls)}
    error = (await gateway.json("POST", CHAT, body, status=status))["error"]
    assert await gateway.json("GET", "/v1/queue") is not None
    return error["param"], error["code"]


def colour_of(part: dict[str, Any]) -> tuple[int, ...]:
    """What a part of the engine's request shows."""
    assert part["type"] == "image_url"
    image = Image.open(io.BytesIO(bytes_of(part["image_url"]["url"])))
    found = image.getpixel((1, 1))
    assert isinstance(found, tuple)
    return tuple(255 if value > 127 else 0 for value in found)


async def test_models_say_whether_they_see(gateway: Gateway) -> None:
    models = {model["id"]: model for model in (await gateway.json("GET", "/v1/models"))["data"]}
    assert (models[SEEING]["sees"], models[BLIND]["sees"], models["scripted"]["sees"]) == (True, False, False)


async def test_images_reach_the_engine_as_data(gateway: Gateway, worker: ScriptedWorker, other: OtherServer) -> None:
    urls = (data_url(png(BLUE)), other.url("/red.png"))
    taken = await asked(gateway, worker, asking(*urls))
    text, *images = taken.body["messages"][0]["content"]
    assert text == {"type": "text", "text": "What is this?"}
    assert [colour_of(part) for part in images] == [BLUE, RED]
    assert [part["image_url"]["detail"] for part in images] == ["auto", "auto"]
    assert other.connections == 1


async def test_the_size_of_a_file_is_not_what_an_image_costs(gateway: Gateway, worker: ScriptedWorker) -> None:
    small, large = png(RED), png(RED) + bytes(200_000)
    costs = [(await asked(gateway, worker, asking(data_url(image)))).job.cost_tokens for image in (small, large)]
    assert costs[0] == costs[1]
    assert IMAGE_TOKENS < costs[0] < 2 * IMAGE_TOKENS


async def test_low_detail_makes_an_image_small(gateway: Gateway, worker: ScriptedWorker) -> None:
    messages = asking(data_url(png(RED, 2000, 1000)))
    messages[0]["content"][1]["image_url"]["detail"] = "low"
    [_, part] = (await asked(gateway, worker, messages)).body["messages"][0]["content"]
    assert Image.open(io.BytesIO(bytes_of(part["image_url"]["url"]))).size == (512, 256)


async def test_a_model_without_eyes_refuses_by_name(gateway: Gateway) -> None:
    assert await refused(gateway, data_url(png()), model=BLIND) == (
        "messages[0].content[1].image_url",
        "unsupported_content",
    )


@pytest.mark.parametrize(
    ("path", "code"),
    [("/page", "invalid_image_format"), ("/huge", "image_file_too_large"), ("/none", "failed_to_download_image")],
)
async def test_what_lies_elsewhere_and_is_no_image_is_refused(
    gateway: Gateway, other: OtherServer, path: str, code: str
) -> None:
    assert await refused(gateway, other.url(path)) == ("messages[0].content[1].image_url", code)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:1/a.png",
        "http://2130706433/a.png",
        "http://0x7f.1/a.png",
        "http://[::ffff:127.0.0.1]/a.png",
        "http://169.254.169.254/latest/meta-data",
        "http://localhost/a.png",
        "http://files.test\\@127.0.0.1/a.png",
        "http://user:key@127.0.0.1/a.png",
        "http://127.0.0.1/" + "a" * 3000,
    ],
)
async def test_nobody_is_sent_inside(gateway: Gateway, other: OtherServer, url: str) -> None:
    async with gateway.client.post(CHAT, json={"model": SEEING, "messages": asking(url)}) as answer:
        error = (await answer.json())["error"]
        assert answer.status in (400, 403)
    assert error["param"] == "messages[0].content[1].image_url"
    assert error["code"] in ("downloads_off", "download_refused", "invalid_image_url")
    assert other.connections == 0


async def test_a_hundred_images_are_too_many(gateway: Gateway, other: OtherServer) -> None:
    assert await refused(gateway, *[other.url("/red.png")] * (MAX_IMAGES + 1)) == (
        f"messages[0].content[{MAX_IMAGES + 1}].image_url",
        "too_many_images",
    )
    assert (await refused(gateway, *[other.url("/red.png")] * 100))[0] == "messages"
    assert other.connections == 0


async def test_broken_ones_are_told_by_their_place(gateway: Gateway) -> None:
    good, broken = data_url(png()), data_url(png()[:50])
    assert await refused(gateway, good, broken) == ("messages[0].content[2].image_url", "image_parse_error")
    assert await refused(gateway, "data:image/png;base64,*") == (
        "messages[0].content[1].image_url",
        "invalid_base64_image",
    )
    svg = data_url(b"<svg/>", "image/svg+xml")
    assert await refused(gateway, svg) == ("messages[0].content[1].image_url", "invalid_image_format")


async def test_a_remote_model_is_told_what_the_client_said(gateway: Gateway, worker: ScriptedWorker) -> None:
    messages = asking("https://example.org/cat.png")
    chatting = asyncio.create_task(gateway.json("POST", CHAT, {"model": "scripted", "messages": messages}))
    taken = await worker.take()
    await taken.answer_whole("a cat")
    await chatting
    assert taken.body["messages"] == messages


async def test_a_run_shows_the_images_of_its_thread(
    gateway: Gateway, worker: ScriptedWorker, other: OtherServer
) -> None:
    file_id = await upload(gateway, png(BLUE))
    content = [
        {"type": "text", "text": "Which colours?"},
        {"type": "image_url", "image_url": {"url": other.url("/red.png"), "detail": "low"}},
        {"type": "image_file", "image_file": {"file_id": file_id}},
    ]
    thread = await gateway.json("POST", "/v1/threads", {"messages": [{"role": "user", "content": content}]})
    run = await start(gateway, thread["id"], model=SEEING)
    taken = await worker.answer()
    assert (await until_ended(gateway, run))["status"] == "completed"
    [message] = taken.body["messages"]
    assert message["content"][0] == {"type": "text", "text": "Which colours?"}
    assert [colour_of(part) for part in message["content"][1:]] == [RED, BLUE]


async def test_in_a_long_thread_the_newest_images_are_shown(
    gateway: Gateway, worker: ScriptedWorker, other: OtherServer
) -> None:
    def said(path: str) -> dict[str, Any]:
        return {"role": "user", "content": [{"type": "image_url", "image_url": {"url": other.url(path)}}]}

    old = [said("/red.png"), said("/gone.png"), *[said("/red.png")] * (MAX_IMAGES - 1)]
    thread = await gateway.json("POST", "/v1/threads", {"messages": [*old, {"role": "user", "content": "Well?"}]})
    run = await start(gateway, thread["id"], model=SEEING)
    taken = await worker.answer()
    assert (await until_ended(gateway, run))["status"] == "completed"
    shown = [message["content"] for message in taken.body["messages"]]
    unseen = [{"type": "text", "text": UNSEEN_IMAGE}]
    assert shown[1] == unseen
    assert shown[-1] == "Well?"
    assert [colour_of(content[0]) for content in shown[2:-1]] == [RED] * (MAX_IMAGES - 1)
    assert colour_of(shown[0][0]) == RED


@pytest.mark.parametrize("lost", ["url", "file"])
async def test_a_run_whose_newest_image_cannot_be_shown_fails_and_says_why(
    gateway: Gateway, other: OtherServer, lost: str
) -> None:
    part: dict[str, Any] = {"type": "image_url", "image_url": {"url": other.url("/gone.png")}}
    if lost == "file":
        part = {"type": "image_file", "image_file": {"file_id": await upload(gateway, png()[:50])}}
    thread = await gateway.json("POST", "/v1/threads", {"messages": [{"role": "user", "content": [part]}]})
    run = await until_ended(gateway, await start(gateway, thread["id"], model=SEEING))
    assert run["status"] == "failed"
    reason = "The image cannot be fetched" if lost == "url" else "The image is cut off or broken"
    assert run["last_error"]["message"].startswith(reason)


async def test_a_batch_shows_images(gateway: Gateway, worker: ScriptedWorker) -> None:
    body = {"model": SEEING, "messages": asking(data_url(png(RED)))}
    line = json.dumps({"custom_id": "1", "method": "POST", "url": CHAT, "body": body}).encode()
    form = aiohttp.FormData({"purpose": "batch"})
    form.add_field("file", line, filename="a.jsonl")
    async with gateway.client.post("/v1/files", data=form) as answer:
        file_id = (await answer.json())["id"]
    made = {"input_file_id": file_id, "endpoint": CHAT, "completion_window": "24h"}
    await gateway.json("POST", "/v1/batches", made)
    taken = await worker.take()
    assert colour_of(taken.body["messages"][0]["content"][1]) == RED
    await taken.answer_whole("red")

"""Documents in chats: the model reads their text, as that of a response's, and what cannot be read is refused."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import pytest
from openai import AsyncOpenAI

from tests.fixtures.gateway import MODEL_ID, Gateway
from tests.fixtures.worker import ScriptedWorker
from tests.gateway.batches.batch_files import line, lines, new_batch, until
from tests.gateway.client import refusal, upload
from tests.gateway.responses.test_input_files import SHOWN, encoded
from tests.storage_service.extraction.making import pdf

URL = "/v1/chat/completions"
PEARS = SHOWN.format(name="fruit.md", text="# Pears")


def asking(**file: Any) -> dict[str, Any]:
    """A question about a document."""
    parts = [{"type": "text", "text": "Read this."}, {"type": "file", "file": file}, {"type": "text", "text": "Good?"}]
    return {"model": MODEL_ID, "messages": [{"role": "user", "content": parts}]}


@pytest.mark.parametrize("store", [True, False])
async def test_an_upload(gateway: Gateway, worker: ScriptedWorker, openai_client: AsyncOpenAI, store: bool) -> None:
    file = await upload(gateway.client, b"# Pears", "fruit.md", purpose="user_data")
    chatting = asyncio.create_task(openai_client.chat.completions.create(**asking(file_id=file["id"]), store=store))
    job = await worker.take()
    assert job.body["messages"] == [{"role": "user", "content": f"Read this.\n{PEARS}\nGood?"}]
    await job.answer_whole("Yes.")
    chat = await chatting
    if store:
        [kept] = (await openai_client.chat.completions.messages.list(chat.id)).data
        assert PEARS in str(kept.content)


async def test_one_that_is_sent_along(worker: ScriptedWorker, openai_client: AsyncOpenAI) -> None:
    body = asking(file_data=encoded(pdf("Pears and plums")), filename="fruit.pdf")
    chatting = asyncio.create_task(openai_client.chat.completions.create(**body))
    job = await worker.take()
    assert "File 'fruit.pdf':\n" in job.body["messages"][0]["content"]
    assert "Pears and plums" in job.body["messages"][0]["content"]
    await job.answer_whole("Yes.")
    await chatting


async def test_in_a_batch(gateway: Gateway, worker: ScriptedWorker) -> None:
    body = asking(file_data=base64.b64encode(b"# Pears").decode(), filename="fruit.md")
    batch = await new_batch(gateway, lines([line("a", body, url=URL)]), endpoint=URL)
    taken = await worker.answer(["Yes."])
    assert PEARS in json.loads(taken.job.body)["messages"][0]["content"]
    assert (await until(gateway, batch))["request_counts"]["completed"] == 1


@pytest.mark.parametrize(
    ("file", "status", "code"),
    [
        ({}, 400, "missing_required_parameter"),
        ({"file_id": "file-a", "file_data": "aGk=", "filename": "a.txt"}, 400, "missing_required_parameter"),
        ({"file_data": "aGk="}, 400, "missing_required_parameter"),
        ({"file_data": "%", "filename": "a.txt"}, 400, "invalid_value"),
        ({"file_data": "iVBORw0KGgo=", "filename": "a.png"}, 400, "invalid_file"),
        ({"file_id": "file-none"}, 404, None),
    ],
)
async def test_what_cannot_be_read(gateway: Gateway, file: dict[str, Any], status: int, code: str | None) -> None:
    told, error = await refusal(gateway.client, "POST", URL, json=asking(**file))
    assert (told, error["code"]) == (status, code)
    assert error["param"].startswith("messages[0].content[1].file")


async def test_a_part_without_its_file(gateway: Gateway) -> None:
    body = {"model": MODEL_ID, "messages": [{"role": "user", "content": [{"type": "file"}]}]}
    status, error = await refusal(gateway.client, "POST", URL, json=body)
    assert (status, error["param"]) == (400, "messages[0].content[0].file")


async def test_tokens_of_files_are_not_counted(gateway: Gateway) -> None:
    body = asking(file_data="aGk=", filename="a.txt")
    status, error = await refusal(gateway.client, "POST", "/v1/tokenize", json=body)
    assert (status, error["param"], error["code"]) == (400, "messages[0].content[1].file", "unsupported_content")

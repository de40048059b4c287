"""Documents in the input: the model reads their text, the thread keeps it, and what cannot be read is refused."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from openai import AsyncOpenAI

from storage_service.servicers import texts
from tests.fixtures.gateway import MODEL_ID, Gateway
from tests.fixtures.storage import StorageServer
from tests.fixtures.worker import ScriptedWorker
from tests.gateway.client import refusal, upload
from tests.gateway.responses.test_responses import respond
from tests.storage_service.extraction.making import pdf

SHOWN = "File '{name}':\n{text}\n(End of the file.)"


def asking(**file: Any) -> list[Any]:
    """A question about a document."""
    content = [{"type": "input_text", "text": "What is it?"}, {"type": "input_file", **file}]
    return [{"role": "user", "content": content}]


def encoded(data: bytes, kind: str = "application/pdf") -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


async def test_a_document_that_is_sent_along(
    storage_server: StorageServer, worker: ScriptedWorker, openai_client: AsyncOpenAI
) -> None:
    sent = asking(file_data=encoded(pdf("Pears and plums")), filename="fruit.pdf")
    response, body = await respond(openai_client, worker, input=sent)
    [said] = body["messages"]
    assert said["content"].startswith("What is it?\nFile 'fruit.pdf':\n")
    assert "Pears and plums" in said["content"]
    [item] = (await openai_client.responses.input_items.list(response.id)).data
    assert item.model_dump(exclude_none=True)["content"][1] == {"type": "input_file", "filename": "fruit.pdf"}
    folder = storage_server.janroot / "threads" / response.model_dump()["thread_id"]
    first = json.loads((folder / "messages.jsonl").read_text().splitlines()[0])
    assert first["content"][1]["file"]["text"].strip() == "Pears and plums"


@pytest.mark.parametrize("store", [True, False])
async def test_an_upload(gateway: Gateway, worker: ScriptedWorker, openai_client: AsyncOpenAI, store: bool) -> None:
    file = await upload(gateway.client, b"# Pears", "fruit.md", purpose="user_data")
    first, body = await respond(openai_client, worker, input=asking(file_id=file["id"]), store=store)
    assert body["messages"][0]["content"] == "What is it?\n" + SHOWN.format(name="fruit.md", text="# Pears")
    if store:
        _, body = await respond(openai_client, worker, input="And?", previous_response_id=first.id)
        assert "# Pears" in body["messages"][0]["content"]


async def test_a_conversation_keeps_documents(
    gateway: Gateway, worker: ScriptedWorker, openai_client: AsyncOpenAI
) -> None:
    items = asking(file_data=base64.b64encode(b"Plums").decode(), filename="a.txt")
    conversation = await gateway.json("POST", "/v1/conversations", {"items": items})
    _, body = await respond(openai_client, worker, input="And?", conversation=conversation["id"])
    assert "Plums" in body["messages"][0]["content"]
    more = await gateway.json("POST", f"/v1/conversations/{conversation['id']}/items", {"items": items})
    assert more["data"][0]["content"][1] == {"type": "input_file", "filename": "a.txt"}


@pytest.mark.parametrize(
    ("file", "status", "code"),
    [
        ({"file_url": "https://example.org/a.pdf"}, 400, "unsupported_content"),
        ({}, 400, "missing_required_parameter"),
        ({"file_id": "file-a", "file_data": "aGk=", "filename": "a.txt"}, 400, "missing_required_parameter"),
        ({"file_data": "aGk="}, 400, "missing_required_parameter"),
        ({"file_data": "%", "filename": "a.txt"}, 400, "invalid_value"),
        ({"file_data": "data:text/plain,hi", "filename": "a.txt"}, 400, "invalid_value"),
        ({"file_data": "iVBORw0KGgo=", "filename": "a.png"}, 400, "invalid_file"),
        ({"file_data": encoded(b"%PDF-1.4 nonsense"), "filename": "a.pdf"}, 400, "invalid_file"),
        ({"file_data": "", "filename": "a.txt"}, 400, "invalid_file"),
        ({"file_id": "file-none"}, 404, None),
        ({"file_id": "../x"}, 400, "invalid_id"),
    ],
)
async def test_what_cannot_be_read(gateway: Gateway, file: dict[str, Any], status: int, code: str | None) -> None:
    body = {"model": MODEL_ID, "input": asking(**file)}
    told, error = await refusal(gateway.client, "POST", "/v1/responses", json=body)
    assert (told, error["code"]) == (status, code)
    assert error["param"].startswith("input[0].content[1]")
    assert (await gateway.json("GET", "/v1/threads"))["data"] == []


async def test_more_text_than_is_shown(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texts, "MAX_TEXT_BYTES", 4)
    body = {"model": MODEL_ID, "input": asking(file_data="UGx1bXM=", filename="a.txt")}
    told, error = await refusal(gateway.client, "POST", "/v1/responses", json=body)
    assert (told, error["code"]) == (400, "invalid_file")
    assert "more than 4 bytes of text" in error["message"]


async def test_outputs_of_functions_hold_no_documents(gateway: Gateway) -> None:
    output = {"type": "function_call_output", "call_id": "c", "output": asking(file_id="file-a")[0]["content"]}
    told, error = await refusal(gateway.client, "POST", "/v1/responses", json={"model": MODEL_ID, "input": [output]})
    assert (told, error["param"], error["code"]) == (400, "input[0].output[1]", "unsupported_content")

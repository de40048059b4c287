from __future__ import annotations

import json
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from openai.types.beta.threads import Message

from jan.storage.v1 import messages_pb2, runs_pb2
from tests.fixtures.storage import StorageServer
from tests.gateway.client import Api, ask, refusal, upload


@pytest.fixture
def path(thread: dict[str, Any]) -> str:
    return f"/v1/threads/{thread['id']}/messages"


async def say(api: Api, path: str, content: Any = "Hi", **fields: Any) -> dict[str, Any]:
    return await ask(api, "POST", path, {"role": "user", "content": content} | fields)


async def test_a_message_lives_and_dies(api: Api, thread: dict[str, Any], path: str) -> None:
    made = await say(api, path, metadata={"k": "v"})
    Message.model_validate(made, strict=True)
    assert made["thread_id"] == thread["id"]
    assert made["content"] == [{"type": "text", "text": {"value": "Hi", "annotations": []}}]
    assert (made["status"], made["completed_at"], made["attachments"]) == ("completed", made["created_at"], [])
    own = f"{path}/{made['id']}"
    assert await ask(api, "GET", own) == made
    deleted = await ask(api, "DELETE", own)
    assert deleted == {"id": made["id"], "object": "thread.message.deleted", "deleted": True}
    for method in ("GET", "DELETE"):
        status, error = await refusal(api, method, own)
        assert (status, error["message"]) == (404, f"No message found with id '{made['id']}'.")


async def test_images_and_attachments_are_kept_as_sent(api: Api, path: str) -> None:
    image, document = [(await upload(api))["id"] for _ in range(2)]
    content = [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA==", "detail": "low"}},
        {"type": "image_file", "image_file": {"file_id": image}},
    ]
    attachments = [{"file_id": document, "tools": [{"type": "file_search"}]}]
    made = await say(api, path, content, attachments=attachments)
    Message.model_validate(made)
    assert (made["content"], made["attachments"], made["file_ids"]) == (content, attachments, [document])


async def test_null_in_an_image_means_absent(api: Api, path: str) -> None:
    made = await say(api, path, [{"type": "image_url", "image_url": {"url": "https://example.org/a", "detail": None}}])
    assert made["content"] == [{"type": "image_url", "image_url": {"url": "https://example.org/a"}}]


@pytest.mark.parametrize("method", ["POST", "PATCH"])
async def test_only_metadata_changes(api: Api, path: str, method: str) -> None:
    made = await say(api, path, metadata={"a": "1"})
    own = f"{path}/{made['id']}"
    assert await ask(api, method, own, {"content": "Ho"}) == made
    assert await ask(api, method, own, {"metadata": {"b": "2"}}) == made | {"metadata": {"b": "2"}}
    assert await ask(api, method, own, {"metadata": None}) == made | {"metadata": {}}


async def test_messages_are_listed_newest_first(api: Api, path: str) -> None:
    ids = [(await say(api, path, text))["id"] for text in "abc"]
    page = await ask(api, "GET", path, limit="2")
    assert [message["id"] for message in page["data"]] == [ids[2], ids[1]]
    assert (page["first_id"], page["last_id"], page["has_more"]) == (ids[2], ids[1], True)
    assert [message["id"] for message in (await ask(api, "GET", path, order="asc"))["data"]] == ids
    assert [message["id"] for message in (await ask(api, "GET", path, before=ids[0]))["data"]] == [ids[2], ids[1]]


async def test_the_messages_of_one_run(
    api: Api, path: str, thread: dict[str, Any], storage_server: StorageServer
) -> None:
    await say(api, path)
    run = runs_pb2.Run(
        id="run_1",
        thread_id=thread["id"],
        assistant_id="jan",
        status=runs_pb2.RUN_STATUS_QUEUED,
        created_at=Timestamp(seconds=1704504640),
        model="demo",
    )
    await storage_server.runs.CreateRun(runs_pb2.CreateRunRequest(run=run))
    await storage_server.messages.CreateMessage(
        messages_pb2.CreateMessageRequest(
            message=messages_pb2.Message(
                id="msg_answer",
                thread_id=thread["id"],
                role=messages_pb2.MESSAGE_ROLE_ASSISTANT,
                content_json='[{"type":"text","text":{"value":"Hello","annotations":[]}}]',
                run_id="run_1",
                assistant_id="jan",
            )
        )
    )
    [message] = (await ask(api, "GET", path, run_id="run_1"))["data"]
    Message.model_validate(message, strict=True)
    assert (message["run_id"], message["assistant_id"]) == ("run_1", "jan")
    assert (await ask(api, "GET", path, run_id="run_2"))["data"] == []
    assert len((await ask(api, "GET", path, run_id=""))["data"]) == 2
    status, error = await refusal(api, "GET", path, params={"run_id": "../run"})
    assert (status, error["param"]) == (400, "run_id")


async def test_a_refusal_names_the_field_and_adds_nothing(api: Api, path: str) -> None:
    bad: list[tuple[dict[str, Any], str]] = [
        ({"content": "Hi"}, "role"),
        ({"role": "system", "content": "Hi"}, "role"),
        ({"role": "user"}, "content"),
        ({"role": "user", "content": []}, "content"),
        ({"role": "user", "content": "a\0b"}, "content[0].text.value"),
        ({"role": "user", "content": "Hi", "metadata": {"k": 1}}, "metadata.k"),
    ]
    for body, param in bad:
        status, error = await refusal(api, "POST", path, json=body)
        assert (status, error["param"]) == (400, param)
    assert (await ask(api, "GET", path))["data"] == []


async def test_a_message_needs_a_thread(api: Api) -> None:
    status, error = await refusal(api, "POST", "/v1/threads/jan_1/messages", json={"role": "user", "content": "Hi"})
    assert (status, error["message"]) == (404, "No thread found with id 'jan_1'.")


async def test_messages_of_desktop_jan_are_answered_as_they_are(api: Api, storage_server: StorageServer) -> None:
    folder = storage_server.janroot / "threads" / "jan_1704504633"
    folder.mkdir()
    lines = [{"id": "01A", "role": role, "content": content} for role, content in OLD_MESSAGES]
    (folder / "messages.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    page = await ask(api, "GET", "/v1/threads/jan_1704504633/messages/01A")
    assert (page["role"], page["content"]) == OLD_MESSAGES[0]


OLD_MESSAGES = [("system", [{"type": "text", "text": {"value": "Be brief.", "annotations": []}}])]

"""Files: a thread is a folder that people can read without us."""

from __future__ import annotations

import json

from gateway.services.storage import StorageClient
from jan.storage.v1 import messages_pb2, threads_pb2
from tests.fixtures.storage import StorageServer


async def test_a_thread_is_a_folder_with_a_description_and_a_line_for_each_message(
    storage_server: StorageServer,
) -> None:
    storage = StorageClient(storage_server.channel)
    thread = await storage.create_thread(
        threads_pb2.CreateThreadRequest(assistant_id="jan", thread=threads_pb2.Thread(title="Tomatoes"))
    )
    await storage.create_message(
        messages_pb2.Message(
            id="msg_1",
            thread_id=thread.id,
            role=messages_pb2.MESSAGE_ROLE_USER,
            status=messages_pb2.MESSAGE_STATUS_COMPLETED,
            content_json='[{"type": "text", "text": {"value": "When do I plant them?", "annotations": []}}]',
        )
    )

    # The folder's name is the thread's id: its assistant and the second it was made in.
    folder = storage_server.janroot / "threads" / thread.id
    assert thread.id.startswith("jan_")

    # What it is stands in thread.json, as desktop Jan writes it.
    description = json.loads((folder / "thread.json").read_text())
    assert description["title"] == "Tomatoes"

    # What was said stands in messages.jsonl, oldest first. It was on the disk before `create_message` returned.
    [line] = (folder / "messages.jsonl").read_text().splitlines()
    message = json.loads(line)
    assert message["role"] == "user"
    assert message["content"][0]["text"]["value"] == "When do I plant them?"

"""A run: a question in a thread, answered whether or not anybody waits, and written where the question stands."""

from __future__ import annotations

import json
from pathlib import Path

from tests.fixtures.gateway import Gateway
from tests.fixtures.storage import StorageServer
from tests.fixtures.worker import ScriptedWorker


async def test_a_run_puts_the_answer_into_the_thread(
    gateway: Gateway, worker: ScriptedWorker, storage_server: StorageServer
) -> None:
    thread = await gateway.json("POST", "/v1/threads", {"messages": [{"role": "user", "content": "Say hello."}]})
    runs = f"/v1/threads/{thread['id']}/runs"

    # The run is accepted and stored at once; the client may go away now.
    run = await gateway.json("POST", runs, {"assistant_id": "jan", "instructions": "Be kind."})
    assert run["status"] == "queued"

    # Its job shows the model the instructions and the thread.
    taken = await worker.take()
    assert [message["content"] for message in taken.body["messages"]] == ["Be kind.", "Say hello."]

    # The answer comes in pieces, and ends.
    await taken.begin()
    await taken.say("Hello,", " friend.")
    await taken.finish()

    # The client comes back and asks how it went.
    while run["status"] in {"queued", "in_progress"}:
        run = await gateway.json("GET", f"{runs}/{run['id']}")
    assert run["status"] == "completed"

    # The answer is the next line of the thread's file.
    question, answer = messages_of(storage_server.janroot / "threads" / thread["id"])
    assert question == ("user", "Say hello.")
    assert answer == ("assistant", "Hello, friend.")


def messages_of(folder: Path) -> list[tuple[str, str]]:
    lines = (folder / "messages.jsonl").read_text().splitlines()
    messages = [json.loads(line) for line in lines]
    return [(message["role"], message["content"][0]["text"]["value"]) for message in messages]

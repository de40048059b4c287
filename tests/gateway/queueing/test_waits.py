"""Chats whose model loads or waits for memory: said in the queue's list and in comments, while it lasts."""

from __future__ import annotations

from typing import Any

from jan.queue.waits import Wait, WaitKind, tell_wait
from tests.fixtures.gateway import MODEL_ID, Gateway
from tests.fixtures.worker import ScriptedWorker
from tests.gateway.client import ask

CHAT: dict[str, Any] = {"model": MODEL_ID, "messages": [{"role": "user", "content": "Hi"}], "stream": True}


async def test_a_chat_hears_how_its_model_loads_until_the_answer_begins(
    gateway: Gateway, worker: ScriptedWorker
) -> None:
    async with gateway.client.post("/v1/chat/completions", json=CHAT) as answer:
        assert answer.headers["X-Janroot-Queue-Position"] == "1"
        job = await worker.take()
        waits = {
            ": waiting activity=waiting for memory": Wait(WaitKind.WAITING, activity="waiting\nfor memory"),
            ": loading": Wait(WaitKind.LOADING),
            ": loading progress=7 activity=compiling": Wait(WaitKind.LOADING, 0.07, "compiling"),
        }
        heard = ""
        for comment, wait in waits.items():
            await tell_wait(worker.scripts, job.lease, wait)
            while (line := (await answer.content.readline()).decode().rstrip("\n")) != comment:
                assert line in {"", ": queued position=1", heard}
            heard = comment
        await tell_wait(worker.scripts, job.lease, None)
        await job.begin()
        await job.finish()
        rest = (await answer.content.read()).decode()
    assert rest.endswith("data: [DONE]\n\n")


async def test_who_is_queued_behind_a_load_hears_of_it_until_somebody_is_answered(
    gateway: Gateway, worker: ScriptedWorker
) -> None:
    async with gateway.client.post("/v1/chat/completions", json=CHAT) as first:
        job = await worker.take()
        await tell_wait(worker.scripts, job.lease, Wait(WaitKind.LOADING, 0.42, "loading weights 42%"))
        async with gateway.client.post("/v1/chat/completions", json=CHAT) as second:
            heard = ": queued position=1 model=loading progress=42 activity=loading weights 42%"
            assert (await second.content.readline()).decode().rstrip("\n") == heard
            [_, told] = (await ask(gateway.client, "GET", "/v1/queue"))["data"]
            keys = ("state", "position", "eta_seconds", "progress", "activity")
            assert [told[key] for key in keys] == ["queued", 1, None, 0.42, "loading weights 42%"]
            await tell_wait(worker.scripts, job.lease, None)
            while (line := (await second.content.readline()).decode().rstrip("\n")) != ": queued position=1":
                assert line in {"", heard}
            [_, told] = (await ask(gateway.client, "GET", "/v1/queue"))["data"]
            assert [told[key] for key in keys] == ["queued", 1, None, None, None]
            await job.begin()
            await job.finish()
            await worker.answer(["Hi"])
            await second.read()
        await first.read()


async def test_the_queues_list_says_what_a_taken_job_waits_for(gateway: Gateway, worker: ScriptedWorker) -> None:
    async with gateway.client.post("/v1/chat/completions", json=CHAT) as answer:
        job = await worker.take()
        await tell_wait(worker.scripts, job.lease, Wait(WaitKind.LOADING, 0.5, "loading weights 50%"))
        [told] = (await ask(gateway.client, "GET", "/v1/queue"))["data"]
        keys = ("state", "progress", "activity", "started_at", "position")
        assert [told[key] for key in keys] == ["loading", 0.5, "loading weights 50%", None, None]
        await tell_wait(worker.scripts, job.lease, None)
        [told] = (await ask(gateway.client, "GET", "/v1/queue"))["data"]
        assert [told[key] for key in keys if key != "started_at"] == ["running", None, None, None]
        assert told["started_at"] >= told["enqueued_at"]
        await job.begin()
        await job.finish()
        await answer.read()

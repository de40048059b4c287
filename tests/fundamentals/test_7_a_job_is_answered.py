"""A job: the gateway asks through the queue, whoever takes the job answers, and neither knows the other."""

from __future__ import annotations

import asyncio

from tests.fixtures.gateway import MODEL_ID, Gateway
from tests.fixtures.worker import ScriptedWorker


async def test_a_chat_becomes_a_job_and_its_events_an_answer(gateway: Gateway, worker: ScriptedWorker) -> None:
    # Somebody asks over HTTP, and waits.
    question = {"model": MODEL_ID, "messages": [{"role": "user", "content": "Say hello."}]}
    async with asyncio.TaskGroup() as tasks:
        asked = tasks.create_task(gateway.json("POST", "/v1/chat/completions", question))

        # The job is on the queue. In the product inference_service takes it; here the test does.
        taken = await worker.take()

        # It carries the OpenAI request, with the model's own defaults laid under it, and the model's description.
        assert taken.body["messages"] == question["messages"]
        assert taken.body["temperature"] == 0.3
        assert taken.job.model.engine == "openai"

        # What the worker publishes is what the client gets: the gateway relays it and changes nothing.
        await taken.answer_whole("Hello!")
    answer = asked.result()
    assert answer["choices"][0]["message"]["content"] == "Hello!"
    assert answer["id"] == taken.job.id

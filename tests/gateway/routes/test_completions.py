"""POST /v1/completions over a real queue, with a worker whose timing belongs to the test."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from jan.inference.v1 import jobs_pb2
from tests.fixtures.gateway import MODEL_ID, Gateway, write_model
from tests.fixtures.storage import StorageServer
from tests.fixtures.worker import ScriptedWorker

COMPLETIONS = "/v1/completions"


def ask(**fields: Any) -> dict[str, Any]:
    return {"model": MODEL_ID, "prompt": "One, two,", **fields}


async def test_the_job_holds_openais_default_and_the_models_parameters(
    gateway: Gateway, worker: ScriptedWorker
) -> None:
    asking = asyncio.create_task(gateway.json("POST", COMPLETIONS, ask(echo=False, suffix="", best_of=1)))
    taken = await worker.take()
    assert taken.job.endpoint == jobs_pb2.ENDPOINT_COMPLETIONS
    assert taken.job.id.startswith("cmpl-")
    assert taken.body == {
        "model": MODEL_ID,
        "prompt": ["One, two,"],
        "stream": False,
        "temperature": 0.3,
        "max_tokens": 16,
    }
    await taken.answer_whole("as it was said")
    answer = await asking
    assert answer["id"] == taken.job.id == taken.job.response_id


async def test_the_limit_is_the_requests_or_openais_whatever_the_model_says_for_chats(
    storage_server: StorageServer, gateway: Gateway, worker: ScriptedWorker
) -> None:
    write_model(storage_server.janroot, "long", parameters={"max_tokens": 100})
    for fields, expected in (({}, 16), ({"max_tokens": 0}, 0)):
        asking = asyncio.create_task(gateway.json("POST", COMPLETIONS, ask(**{"model": "long", **fields})))
        taken = await worker.take()
        assert taken.body["max_tokens"] == expected
        await taken.answer_whole("")
        await asking


async def test_everything_a_completion_may_say_reaches_the_engine(gateway: Gateway, worker: ScriptedWorker) -> None:
    given = {"n": 2, "stop": "x", "seed": 5, "logprobs": 0, "echo": True, "suffix": "end", "logit_bias": {"5": 1.0}}
    asking = asyncio.create_task(gateway.json("POST", COMPLETIONS, ask(prompt=[[1, 2], [3]], **given, unknown=1)))
    taken = await worker.take()
    fixed = {"model": MODEL_ID, "stream": False, "temperature": 0.3, "max_tokens": 16}
    assert taken.body == {**fixed, **given, "stop": ["x"], "prompt": [[1, 2], [3]]}
    assert taken.job.cost_tokens > 16 * 4
    await taken.answer_whole("")
    await asking


async def test_a_stream_ends_with_done(gateway: Gateway, worker: ScriptedWorker) -> None:
    answering = asyncio.create_task(worker.answer(["a", "b"]))
    body = ask(stream=True, stream_options={"include_usage": True})
    async with gateway.client.post(COMPLETIONS, json=body) as response:
        assert response.headers["Content-Type"].startswith("text/event-stream")
        lines = [line for line in (await response.text()).split("\n") if line]
    assert (await answering).body["stream_options"] == {"include_usage": True}
    assert lines[-1] == "data: [DONE]"
    assert all(json.loads(line.removeprefix("data: ")) for line in lines[:-1])


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"prompt": None}, "prompt", "invalid_type"),
        ({"prompt": ""}, "prompt", "empty_string"),
        ({"prompt": []}, "prompt", "empty_array"),
        ({"prompt": ["a\0"]}, "prompt[0]", "invalid_value"),
        ({"prompt": ["a"] * 129}, "prompt", "array_above_max_length"),
        ({"best_of": 3}, "best_of", "unsupported_parameter"),
        ({"logprobs": 6}, "logprobs", "integer_above_max_value"),
        ({"logprobs": True}, "logprobs", "invalid_type"),
        ({"max_tokens": -1}, "max_tokens", "integer_below_min_value"),
        ({"stream_options": {}}, "stream_options", None),
        ({"n": 129}, "n", "integer_above_max_value"),
    ],
)
async def test_what_cannot_be_is_refused_by_name(
    gateway: Gateway, fields: dict[str, Any], param: str, code: str | None
) -> None:
    error = (await gateway.json("POST", COMPLETIONS, ask(**fields), status=400))["error"]
    assert (error["param"], error["code"], error["type"]) == (param, code, "invalid_request_error")

"""POST /v1/embeddings over a real queue, with a worker whose timing belongs to the test."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gateway.schemas.embeddings import MAX_INPUTS
from jan.errors import InvalidArgumentError
from jan.inference.v1 import jobs_pb2
from jan.queue.leases import LeaseState
from tests.fixtures.gateway import MODEL_ID, Gateway
from tests.fixtures.worker import ScriptedWorker

EMBEDDINGS = "/v1/embeddings"


@pytest.mark.parametrize(
    ("given", "sent"),
    [("a", ["a"]), (["a", "b"], ["a", "b"]), ([1, 2], [[1, 2]]), ([[1], [2, 3]], [[1], [2, 3]])],
)
async def test_every_form_of_input_is_a_list_to_the_engine(
    gateway: Gateway, worker: ScriptedWorker, given: Any, sent: Any
) -> None:
    asking = asyncio.create_task(gateway.json("POST", EMBEDDINGS, {"model": MODEL_ID, "input": given}))
    taken = await worker.take()
    assert taken.job.endpoint == jobs_pb2.ENDPOINT_EMBEDDINGS
    assert (taken.body, taken.job.stream) == ({"input": sent}, False)
    await taken.answer_whole("relayed as it is")
    assert (await asking)["data"][0]["embedding"] == "relayed as it is"


async def test_the_form_of_the_answer_goes_along(gateway: Gateway, worker: ScriptedWorker) -> None:
    body = {"model": MODEL_ID, "input": "a", "encoding_format": "base64", "dimensions": 8, "user": "ann", "x": 1}
    asking = asyncio.create_task(gateway.json("POST", EMBEDDINGS, body))
    taken = await worker.take()
    assert taken.body == {"input": ["a"], "encoding_format": "base64", "dimensions": 8}
    assert taken.job.tenant == "user:ann"
    await taken.answer_whole("")
    await asking


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({}, "input", "missing_required_parameter"),
        ({"input": None}, "input", "invalid_type"),
        ({"input": {}}, "input", "invalid_type"),
        ({"input": ""}, "input", "empty_string"),
        ({"input": []}, "input", "empty_array"),
        ({"input": [[]]}, "input[0]", "empty_array"),
        ({"input": ["a", ""]}, "input[1]", "empty_string"),
        ({"input": ["a", [1]]}, "input[1]", "invalid_type"),
        ({"input": [True]}, "input[0]", "invalid_type"),
        ({"input": [-1]}, "input[0]", "integer_below_min_value"),
        ({"input": [[1, 2**40]]}, "input[0][1]", "integer_above_max_value"),
        ({"input": ["a\0"]}, "input[0]", "invalid_value"),
        ({"input": ["a"] * (MAX_INPUTS + 1)}, "input", "array_above_max_length"),
        ({"input": "a", "encoding_format": "int8"}, "encoding_format", "invalid_value"),
        ({"input": "a", "dimensions": 0}, "dimensions", "integer_below_min_value"),
        ({"input": "a", "model": ""}, "model", "empty_string"),
    ],
)
async def test_what_cannot_be_embedded_is_refused_by_name(
    gateway: Gateway, fields: dict[str, Any], param: str, code: str
) -> None:
    error = (await gateway.json("POST", EMBEDDINGS, {"model": MODEL_ID, **fields}, status=400))["error"]
    assert (error["param"], error["code"], error["type"]) == (param, code, "invalid_request_error")


async def test_an_unknown_model_is_not_found(gateway: Gateway) -> None:
    error = (await gateway.json("POST", EMBEDDINGS, {"model": "nobody", "input": "a"}, status=404))["error"]
    assert (error["param"], error["code"]) == ("model", "model_not_found")


async def test_a_refusal_of_the_engine_is_a_status(gateway: Gateway, worker: ScriptedWorker) -> None:
    body = {"model": MODEL_ID, "input": "a", "dimensions": 3}
    asking = asyncio.create_task(gateway.json("POST", EMBEDDINGS, body, status=400))
    await (await worker.take()).fail(InvalidArgumentError("It cannot.", param="dimensions"))
    error = (await asking)["error"]
    assert (error["message"], error["param"]) == ("It cannot.", "dimensions")


async def test_a_client_that_leaves_frees_its_place(gateway: Gateway, worker: ScriptedWorker) -> None:
    asking = asyncio.create_task(gateway.json("POST", EMBEDDINGS, {"model": MODEL_ID, "input": "a"}))
    taken = await worker.take()
    assert await taken.state() is LeaseState.HELD
    asking.cancel()
    await taken.until_cancelled()


async def test_a_large_answer_comes_whole(gateway: Gateway, worker: ScriptedWorker) -> None:
    asking = asyncio.create_task(gateway.json("POST", EMBEDDINGS, {"model": MODEL_ID, "input": "a"}))
    await (await worker.take()).answer_whole("x" * 5_000_000)
    assert len((await asking)["data"][0]["embedding"]) == 5_000_000

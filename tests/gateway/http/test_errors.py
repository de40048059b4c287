"""Every case of the table of errors that OpenAI's clients know: status, type, code, param, and the headers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import openai
import pytest
from blockbuster import BlockBuster
from openai import AsyncOpenAI

from gateway.http.not_built import FAMILIES
from gateway.keys import STORAGE
from jan.errors import (
    ConflictError,
    DeadlineExceededError,
    JanError,
    PermissionDeniedError,
    ResourceExhaustedError,
    StorageFullError,
    UnavailableError,
)
from tests.fixtures.gateway import MODEL_ID, Gateway, running_gateway, write_model
from tests.fixtures.redis import RedisServer
from tests.fixtures.storage import StorageServer

KEY = "a key of thirty-two characters!!"
INVALID = "invalid_request_error"
CHAT = "/v1/chat/completions"
JSON = "application/json"


@dataclass(frozen=True)
class Case:
    """A request, and what it must be answered."""

    name: str
    method: str
    path: str
    status: int
    type: str = INVALID
    code: str | None = None
    param: str | None = None
    body: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)


def chat(fields: str) -> bytes:
    return f'{{"model":"{MODEL_ID}","messages":[{{"role":"user","content":"Hi"}}],{fields}}}'.encode()


CASES = [
    Case("no JSON", "POST", CHAT, 400, body=b"{"),
    Case("no object", "POST", CHAT, 400, body=b"[]"),
    Case("a number that is none", "POST", CHAT, 400, body=chat('"temperature":NaN')),
    Case("a broken surrogate", "POST", CHAT, 400, body=chat('"user":"\\ud800"')),
    Case("too deep", "POST", CHAT, 400, body=b'{"a":' + b"[" * 50_000),
    Case("another type", "POST", CHAT, 400, code="invalid_type", param="temperature", body=chat('"temperature":"1"')),
    Case("missing", "POST", CHAT, 400, code="missing_required_parameter", param="messages", body=b'{"model":"m"}'),
    Case("too large", "POST", CHAT, 400, code="decimal_above_max_value", param="top_p", body=chat('"top_p":2')),
    Case("too small", "POST", CHAT, 400, code="integer_below_min_value", param="n", body=chat('"n":0')),
    Case(
        "too many",
        "POST",
        CHAT,
        400,
        code="array_above_max_length",
        param="stop",
        body=chat('"stop":["a","b","c","d","e"]'),
    ),
    Case("an unknown word", "POST", CHAT, 400, code="invalid_value", param="verbosity", body=chat('"verbosity":"x"')),
    Case(
        "not supported",
        "POST",
        CHAT,
        400,
        code="unsupported_parameter",
        param="audio",
        body=chat('"audio":{"voice":"a"}'),
    ),
    Case("a bad limit", "GET", "/v1/assistants?limit=0", 400, param="limit", code="integer_below_min_value"),
    Case("a bad order", "GET", "/v1/assistants?order=up", 400, param="order", code="invalid_value"),
    Case("a bad cursor", "GET", "/v1/assistants?after=nobody", 400, param="after"),
    Case("no key", "GET", "/v1/models", 401, code="invalid_api_key", headers={"Authorization": ""}),
    Case("a wrong key", "GET", "/v1/models", 401, code="invalid_api_key", headers={"Authorization": "Bearer no"}),
    Case("another scheme", "GET", "/v1/models", 401, code="invalid_api_key", headers={"Authorization": f"Basic {KEY}"}),
    Case("an unknown route", "GET", "/v1/nothing", 404, code="unknown_url"),
    Case("an unknown thread", "GET", "/v1/threads/thread_x", 404),
    Case("an unknown chat", "GET", f"{CHAT}/chatcmpl-x", 404),
    Case("an unknown model", "GET", "/v1/models/nobody", 404, code="model_not_found", param="model"),
    Case(
        "a chat with an unknown model",
        "POST",
        CHAT,
        404,
        code="model_not_found",
        param="model",
        body=b'{"model":"nobody","messages":[{"role":"user","content":"Hi"}]}',
    ),
    Case("another method", "PUT", CHAT, 405, code="method_not_allowed"),
    Case(
        "no JSON type",
        "POST",
        CHAT,
        415,
        code="unsupported_media_type",
        body=b"{}",
        headers={"Content-Type": "text/plain"},
    ),
]


@pytest.fixture
async def guarded(storage_server: StorageServer, redis_server: RedisServer, redis: object) -> AsyncIterator[Gateway]:
    """A gateway that asks for a key."""
    write_model(storage_server.janroot)
    async with running_gateway(storage_server, redis_server, JANROOT_AUTH="keys", JANROOT_ADMIN_KEY=KEY) as gateway:
        yield gateway


async def test_each_case_is_answered_as_openai_does(guarded: Gateway) -> None:
    for case in CASES:
        headers = {"Authorization": f"Bearer {KEY}", "Content-Type": JSON} | case.headers
        if not headers["Authorization"]:
            del headers["Authorization"]
        async with guarded.client.request(case.method, case.path, data=case.body, headers=headers) as answer:
            error = (await answer.json())["error"]
            told = (answer.status, error["type"], error["code"], error["param"])
            assert told == (case.status, case.type, case.code, case.param), (case.name, error)
            assert error["message"], case.name
            assert error.keys() == {"message", "type", "param", "code"}, case.name
            assert answer.headers["x-request-id"].startswith("req_"), case.name
            assert int(answer.headers["openai-processing-ms"]) >= 0, case.name
            assert answer.headers["openai-version"] == "2020-10-01", case.name


async def test_answers_that_are_no_errors_have_the_headers_too(gateway: Gateway) -> None:
    for path in ("/healthz", "/v1/models", "/v1/threads"):
        async with gateway.client.get(path) as answer:
            assert answer.status == 200
            assert {"x-request-id", "openai-processing-ms", "openai-version"} <= {
                name.lower() for name in answer.headers
            }


OF_PARTS: list[tuple[JanError, int, str, str | None, str | None]] = [
    (PermissionDeniedError("Not yours."), 403, "permission_error", None, None),
    (ConflictError("Changed meanwhile."), 409, INVALID, None, None),
    (ResourceExhaustedError("Full.", retry_after_seconds=3), 429, "rate_limit_error", "rate_limit_exceeded", "3"),
    (UnavailableError("Down.", retry_after_seconds=1), 503, "server_error", None, "1"),
    (DeadlineExceededError("Too long.", code="timeout"), 504, "server_error", "timeout", None),
    (StorageFullError("No room."), 507, "server_error", "storage_full", None),
]


async def test_what_a_part_of_the_server_says_keeps_its_meaning(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    for error, status, type_, code, retry_after in OF_PARTS:
        monkeypatch.setattr(gateway.app[STORAGE], "create_thread", failing(error))
        async with gateway.client.post("/v1/threads") as answer:
            told = (await answer.json())["error"]
            assert (answer.status, told["type"], told["code"]) == (status, type_, code)
            assert answer.headers.get("Retry-After") == retry_after
            assert told["message"] == error.message


def failing(error: Exception) -> Callable[..., Awaitable[Any]]:
    """A part of the server that fails like that."""

    async def fail(*_: object) -> Any:
        raise error

    return fail


async def test_our_own_mistakes_say_nothing_of_our_insides(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, blockbuster: BlockBuster
) -> None:
    blockbuster.deactivate()  # the log's traceback looks for the lines of its sources
    monkeypatch.setattr(gateway.app[STORAGE], "list_models", failing(RuntimeError("/secret/path")))
    error = (await gateway.json("GET", "/v1/models", status=500))["error"]
    assert (error["type"], error["code"], error["param"]) == ("server_error", None, None)
    assert "secret" not in error["message"]


async def test_a_body_over_the_limit_is_told_so(gateway: Gateway) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(40):
            yield b" " * 1024 * 1024
            await asyncio.sleep(0)

    async with gateway.client.post(CHAT, data=pieces(), headers={"Content-Type": JSON}) as answer:
        error = (await answer.json())["error"]
        assert (answer.status, error["type"], error["code"]) == (413, INVALID, "request_too_large")


async def test_a_busy_thread_is_told_by_its_run(gateway: Gateway) -> None:
    thread = await gateway.json("POST", "/v1/threads", {"messages": [{"role": "user", "content": "Hi"}]})
    path = f"/v1/threads/{thread['id']}"
    run = await gateway.json("POST", f"{path}/runs", {"assistant_id": "jan"})
    busy = (await gateway.json("POST", f"{path}/runs", {"assistant_id": "jan"}, status=400))["error"]
    assert busy["message"] == f"Thread {thread['id']} already has an active run {run['id']}."
    body = {"role": "user", "content": "More"}
    busy = (await gateway.json("POST", f"{path}/messages", body, status=400))["error"]
    assert busy["message"] == f"Can't add messages to {thread['id']} while a run {run['id']} is active."


@pytest.mark.parametrize("family", FAMILIES)
async def test_what_is_not_built_says_so_by_name(gateway: Gateway, family: str) -> None:
    for method, path in (("GET", f"/v1/{family}"), ("POST", f"/v1/{family}/anything/at/all")):
        error = (await gateway.json(method, path, status=404))["error"]
        assert (error["type"], error["code"]) == (INVALID, "unsupported_endpoint")
        assert f"/v1/{family}" in error["message"]


async def test_the_sdk_tells_what_is_not_built(gateway: Gateway) -> None:
    async with AsyncOpenAI(base_url=f"{gateway.url}v1", api_key="unused", max_retries=0) as client:
        for call in (
            client.moderations.create(input="x"),
            client.images.generate(prompt="x"),
            client.audio.speech.create(model="m", voice="alloy", input="x"),
            client.fine_tuning.jobs.list(),
            client.realtime.client_secrets.create(),
        ):
            with pytest.raises(openai.NotFoundError, match="does not have OpenAI's") as refused:
                await call
            assert refused.value.code == "unsupported_endpoint"

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from aiohttp import web

from inference_service.engines.client import EngineClient
from inference_service.engines.engine import Connection
from inference_service.engines.remote_errors import wait_seconds_of
from jan.errors import JanError

SECRET = "account 4711 of ann at 10.0.0.7 with key sk-secret"
NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("status", "kind", "code", "told", "wait"),
    [
        (500, "internal", "engine_failed", "The model's server answered 500 Internal Server Error.", 0),
        (502, "unavailable", "engine_unavailable", "The model's server answered 502 Bad Gateway.", 17),
        (503, "unavailable", "engine_unavailable", "The model's server answered 503 Service Unavailable.", 17),
        (529, "internal", "engine_failed", "The model's server answered 529.", 0),
        (429, "resource_exhausted", "engine_busy", "The model's server takes no more requests now.", 17),
    ],
)
async def test_what_a_remote_server_answers_is_told_without_its_words(
    status: int, kind: str, code: str, told: str, wait: int
) -> None:
    async def answer(_: web.Request) -> web.Response:
        body = {"error": {"message": SECRET}}
        return web.json_response(body, status=status, headers={"Retry-After": "17"})

    app = web.Application()
    app.router.add_post("/v1/chat/completions", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        async with EngineClient(Connection(f"http://127.0.0.1:{runner.addresses[0][1]}/v1")) as client:
            with pytest.raises(JanError) as caught:
                async with client.chat({"messages": []}):
                    pass
    finally:
        await runner.cleanup()
    error = caught.value
    assert (error.kind, error.code, error.message, error.retry_after_seconds) == (kind, code, told, wait)


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("", 5),
        ("30", 30),
        ("0.2", 1),
        ("-3", 1),
        ("1e9", 86_400),
        ("inf", 86_400),
        ("nan", 5),
        ("soon", 5),
        ("Thu, 26 Nov 2026 12:01:30 GMT", 90),
        ("Thu, 26 Nov 2026 11:00:00 GMT", 1),
        ("Thu, 26 Nov 2026 12:01:30", 5),
    ],
)
def test_retry_after_is_seconds_or_a_date(said: str, seconds: int) -> None:
    assert wait_seconds_of({"Retry-After": said}, NOW) == seconds
    assert wait_seconds_of({}) == 5

"""Who may come in: every route is guarded, hosts and origins are checked, keys are compared whole."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from redis.asyncio import Redis

from gateway.http.guard import OPEN_ROUTES
from tests.fixtures.gateway import Gateway, running_gateway, write_model
from tests.fixtures.redis import RedisServer
from tests.fixtures.storage import StorageServer

KEY = "sk-0123456789abcdef0123456789abcdef"


@pytest.fixture
async def guarded(storage_server: StorageServer, redis_server: RedisServer, redis: Redis) -> AsyncIterator[Gateway]:
    write_model(storage_server.janroot)
    async with running_gateway(storage_server, redis_server, JANROOT_AUTH="keys", JANROOT_ADMIN_KEY=KEY) as gateway:
        yield gateway


def routes(app: web.Application) -> list[tuple[str, str]]:
    """Every method and path of the application that needs a key, with something in each place of the path."""
    found = []
    for route in app.router.routes():
        assert route.resource is not None
        pattern = route.resource.canonical
        path = "/".join("x" if part.startswith("{") else part for part in pattern.split("/"))
        if pattern not in OPEN_ROUTES:
            found.append((route.method, path))
    return found


async def test_every_route_but_open_ones_wants_a_key(guarded: Gateway) -> None:
    checked = routes(guarded.app)
    assert len(checked) > 30
    for method, path in checked:
        async with guarded.client.request(method, path) as response:
            assert response.status == 401, (method, path)
            if method != "HEAD":
                error = (await response.json())["error"]
                assert error.get("code") == "invalid_api_key" or error["type"] == "authentication_error"


async def test_an_unknown_route_tells_a_stranger_nothing(guarded: Gateway) -> None:
    async with guarded.client.get("/v1/nothing") as response:
        assert response.status == 401


async def test_health_is_open(guarded: Gateway) -> None:
    assert await guarded.json("GET", "/healthz") == {"status": "ok"}
    answer = await guarded.json("GET", "/readyz", status=503)
    assert answer["missing"] == ["inference_service"]


@pytest.mark.parametrize(
    "authorization",
    [
        f"Bearer {KEY[:-1]}",
        f"Bearer {KEY}0",
        f"Basic {KEY}",
        KEY,
        "Bearer",
        "Bearer ' OR 1=1--",
        "Bearer \xff",
        "Bearer " + "x" * 5000,
    ],
)
async def test_a_wrong_key_is_refused(guarded: Gateway, authorization: str) -> None:
    headers = {"Authorization": authorization}
    async with guarded.client.get("/v1/models", headers=headers) as response:
        assert response.status == 401
        assert KEY[:10] not in await response.text()


async def test_the_key_lets_in_whatever_the_host(guarded: Gateway) -> None:
    for host in ("localhost", "janroot.example.org", "10.0.0.7:1337"):
        headers = {"Authorization": f"bearer {KEY}", "Host": host}
        async with guarded.client.get("/v1/models", headers=headers) as response:
            assert response.status == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:1337", "127.0.0.1.evil.example", "localhost.evil", "0.0.0.0"]
)
async def test_without_keys_a_foreign_host_is_refused(gateway: Gateway, host: str) -> None:
    async with gateway.client.get("/v1/models", headers={"Host": host}) as response:
        assert response.status == 403


@pytest.mark.parametrize("host", ["localhost", "localhost:1337", "127.0.0.1", "[::1]:1337", "192.168.1.5"])
async def test_without_keys_loopback_names_and_addresses_pass(gateway: Gateway, host: str) -> None:
    async with gateway.client.get("/v1/models", headers={"Host": host}) as response:
        assert response.status == 200


@pytest.mark.parametrize("host", ["a/v1/models?", "a#b", "a@b", "a\\b", "a b", "", "[::1"])
async def test_a_malformed_host_is_a_bad_request(guarded: Gateway, host: str) -> None:
    headers = {"Host": host, "Authorization": f"Bearer {KEY}"}
    async with guarded.client.get("/v1/models", headers=headers) as response:
        assert response.status == 400


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://localhost.evil.example", "file://", "http://["]
)
async def test_without_keys_another_sites_page_cannot_change_anything(gateway: Gateway, origin: str) -> None:
    async with gateway.client.post("/v1/threads", json={}, headers={"Origin": origin}) as response:
        assert response.status == 403
        assert "Access-Control-Allow-Origin" not in response.headers
    assert (await gateway.json("GET", "/v1/threads"))["data"] == []


async def test_a_local_page_may_post(gateway: Gateway) -> None:
    async with gateway.client.post("/v1/threads", json={}, headers={"Origin": "http://localhost:3000"}) as response:
        assert response.status == 200


async def test_a_request_line_with_a_whole_address_is_refused(gateway: Gateway) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", int(gateway.url.rsplit(":", 1)[1].strip("/")))
    writer.write(b"GET http://evil.example/v1/models HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    assert answer.startswith(b"HTTP/1.1 400")


async def test_a_body_that_is_not_encoded_as_it_says_is_a_bad_request(gateway: Gateway) -> None:
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    async with gateway.client.post("/v1/threads", data=b"{}", headers=headers) as response:
        assert response.status == 400, await response.text()
        assert (await response.json())["error"]["type"] == "invalid_request_error"


async def test_an_expectation_that_nobody_can_meet_is_answered(gateway: Gateway) -> None:
    async with gateway.client.post("/v1/threads", json={}, headers={"Expect": "miracles"}) as response:
        assert response.status == 417
        assert response.headers["x-request-id"]

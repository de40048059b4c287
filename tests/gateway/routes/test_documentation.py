"""GET /openapi.json and /docs."""

from __future__ import annotations

import hashlib
from pathlib import Path

from tests.fixtures.gateway import Gateway, running_gateway
from tests.fixtures.redis import RedisServer
from tests.fixtures.storage import StorageServer

PAGE = Path(__file__).resolve().parents[3] / "gateway" / "openapi" / "page"
# What swagger-ui-dist 5.35.0 holds on npm, byte for byte.
DIGESTS = {
    "swagger-ui-bundle.js": "e6a898692f2d768e807c3ba4626068a69a2c5dd960dd6c76f3e4d3a3de180af2",
    "swagger-ui.css": "5ed08757e53da3e026d6cbecc61fe5d43585c9560b302d534ad56692519a273d",
}


async def test_the_document_is_sent_and_known_again(gateway: Gateway) -> None:
    async with gateway.client.get("/openapi.json") as answer:
        told = await answer.json()
        assert answer.status == 200
        tag = answer.headers["ETag"]
    assert told["openapi"].startswith("3.1")
    async with gateway.client.get("/openapi.json", headers={"If-None-Match": tag}) as again:
        assert again.status == 304
        assert await again.read() == b""


async def test_it_and_its_page_need_no_key(storage_server: StorageServer, redis_server: RedisServer) -> None:
    keys = {"JANROOT_AUTH": "keys", "JANROOT_ADMIN_KEY": "sk-admin"}
    async with running_gateway(storage_server, redis_server, **keys) as gateway:
        for path in ("/", "/openapi.json", "/docs", "/docs/page.js"):
            async with gateway.client.get(path) as answer:
                assert answer.status == 200, path
        assert (await gateway.client.get("/v1/models")).status == 401


async def test_the_page_loads_nothing_from_elsewhere(gateway: Gateway) -> None:
    async with gateway.client.get("/", allow_redirects=False) as answer:
        assert (answer.status, answer.headers["Location"]) == (302, "/docs")
    async with gateway.client.get("/docs") as answer:
        page = await answer.text()
        policy = answer.headers["Content-Security-Policy"]
    assert "http" not in page
    assert "default-src 'none'" in policy
    assert "http" not in policy
    assert "*" not in policy


async def test_its_files_are_those_that_it_needs(gateway: Gateway) -> None:
    for name, content_type in (("page.js", "text/javascript"), ("swagger-ui.css", "text/css")):
        async with gateway.client.get(f"/docs/{name}") as answer:
            assert (answer.status, answer.content_type) == (200, content_type)
    for name in ("LICENSE", "..%2fserved.py", "index.html%00"):
        async with gateway.client.get(f"/docs/{name}") as answer:
            assert answer.status in (400, 404), name


def test_the_renderer_is_the_one_that_was_looked_at() -> None:
    assert {name: hashlib.sha256((PAGE / name).read_bytes()).hexdigest() for name in DIGESTS} == DIGESTS

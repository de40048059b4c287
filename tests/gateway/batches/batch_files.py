"""Making batches over HTTP, and reading what came of them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from typing import Any

from tests.fixtures.gateway import MODEL_ID, Gateway
from tests.gateway.client import upload

CHAT = "/v1/chat/completions"
ENDS = {"completed", "failed", "expired", "cancelled"}
_END_SECONDS = 50.0


def line(custom_id: str, body: Any = None, *, url: str = CHAT, method: str = "POST") -> dict[str, Any]:
    """A request of a batch; a chat with the scripted model unless said otherwise."""
    chat = {"model": MODEL_ID, "messages": [{"role": "user", "content": custom_id}]}
    return {"custom_id": custom_id, "method": method, "url": url, "body": chat if body is None else body}


def lines(requests: Iterable[Any]) -> bytes:
    """The input file of some requests."""
    return b"".join(json.dumps(request).encode() + b"\n" for request in requests)


async def new_batch(gateway: Gateway, data: bytes, **fields: Any) -> dict[str, Any]:
    """A batch over an input file."""
    file = await upload(gateway.client, data, "in.jsonl", purpose="batch")
    asked = {"input_file_id": file["id"], "endpoint": CHAT, "completion_window": "24h"}
    batch: dict[str, Any] = await gateway.json("POST", "/v1/batches", asked | fields)
    return batch


async def until(gateway: Gateway, batch: dict[str, Any], *statuses: str) -> dict[str, Any]:
    """Wait until a batch has one of these statuses, or has come to its end."""
    async with asyncio.timeout(_END_SECONDS):
        while True:
            now: dict[str, Any] = await gateway.json("GET", f"/v1/batches/{batch['id']}")
            if now["status"] in (set(statuses) or ENDS):
                return now


async def results(gateway: Gateway, file_id: str | None) -> dict[str, Any]:
    """The lines of an output or error file by their custom id."""
    if file_id is None:
        return {}
    async with gateway.client.get(f"/v1/files/{file_id}/content") as answer:
        assert answer.status == 200
        found = [json.loads(one) for one in (await answer.text()).splitlines()]
    by_id = {one["custom_id"]: one for one in found}
    assert len(by_id) == len(found)
    return by_id

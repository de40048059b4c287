"""Asking the gateway in tests, and what every refusal must look like."""

from __future__ import annotations

import io
import json
from typing import Any

from aiohttp import ClientSession, FormData
from yarl import URL

Api = ClientSession


async def ask(api: Api, method: str, path: str | URL, body: Any = None, **params: str) -> dict[str, Any]:
    """Send a request that must succeed; its answer's JSON."""
    async with api.request(method, path, json=body, params=params) as answer:
        value: dict[str, Any] = await answer.json()
        assert answer.status == 200, value
        assert answer.headers["x-request-id"].startswith("req_")
        return value


async def refusal(api: Api, method: str, path: str | URL, **request: Any) -> tuple[int, dict[str, Any]]:
    """Send a request that must be refused; its status and OpenAI's error object."""
    if "json" in request:
        # As a file: aiohttp's client warns of large bodies that are not.
        body = io.BytesIO(json.dumps(request.pop("json")).encode())
        request |= {"data": body, "headers": {"Content-Type": "application/json"}}
    async with api.request(method, path, **request) as answer:
        assert 400 <= answer.status < 500, await answer.text()
        assert answer.content_type == "application/json"
        assert answer.headers["x-request-id"].startswith("req_")
        value = await answer.json()
        assert value.keys() == {"error"}
        error: dict[str, Any] = value["error"]
        assert error.keys() == {"message", "type", "param", "code"}
        assert error["type"] == "invalid_request_error"
        assert error["message"]
        assert isinstance(error["param"], str | None)
        assert isinstance(error["code"], str | None)
        return answer.status, error


def form(data: bytes = b"Hi", filename: str = "a.txt", **fields: str) -> FormData:
    """A form with a file; `expires_after__anchor` stands for `expires_after[anchor]`."""
    made = FormData()
    for name, value in ({"purpose": "assistants"} | fields).items():
        made.add_field(name.replace("__", "[") + "]" * name.count("__"), value)
    made.add_field("file", data, filename=filename)
    return made


async def upload(api: Api, data: bytes = b"Hi", filename: str = "a.txt", **fields: str) -> dict[str, Any]:
    """Upload a file, which must succeed."""
    async with api.post("/v1/files", data=form(data, filename, **fields)) as answer:
        value: dict[str, Any] = await answer.json()
        assert answer.status == 200, value
        return value

"""The check that stands behind every answer of the tests bites."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.app import build_app
from gateway.openapi.document import document
from gateway.settings import GatewaySettings
from tests.fixtures.answers import AnswerSchemas

JSON, EVENTS = "application/json", "text/event-stream"
ERROR = {"error": {"message": "No.", "type": "invalid_request_error", "param": None, "code": None}}
CHUNK = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": []}
DELETED = {"id": "thread_1", "object": "thread.deleted", "deleted": True}
THREAD = "DELETE /v1/threads/{thread_id}"


@pytest.fixture(scope="module")
def schemas() -> AnswerSchemas:
    return AnswerSchemas(document(build_app(GatewaySettings.from_environment({}))))


def misses(schemas: AnswerSchemas, asked: str, status: int, value: Any, media_type: str = JSON) -> list[str]:
    method, _, path = asked.partition(" ")
    return list(schemas.misses(method, path or None, status, media_type, json.dumps(value).encode()))


def test_what_the_document_tells_is_no_miss(schemas: AnswerSchemas) -> None:
    assert misses(schemas, THREAD, 200, DELETED) == []
    assert misses(schemas, THREAD, 404, ERROR) == []
    assert misses(schemas, "GET", 404, ERROR) == []
    said = b": keep-alive\n\ndata: " + json.dumps(CHUNK).encode() + b"\n\ndata: [DONE]\n\n"
    assert list(schemas.misses("POST", "/v1/chat/completions", 200, EVENTS, said)) == []


def test_everything_else_is_one(schemas: AnswerSchemas) -> None:
    assert misses(schemas, THREAD, 200, DELETED | {"deleted": "yes"})
    assert misses(schemas, THREAD, 200, DELETED | {"more": 1})
    assert misses(schemas, THREAD, 418, ERROR)
    assert misses(schemas, THREAD, 404, {"detail": "Not Found"})
    assert misses(schemas, THREAD, 200, DELETED, "text/html")
    assert misses(schemas, "GET", 404, {"error": "no"})
    for wrong in (b'data: {"object": "chat"}\n\n', b'data: {"error": "no"}\n\n'):
        assert list(schemas.misses("POST", "/v1/chat/completions", 200, EVENTS, wrong))

from __future__ import annotations

import json

import orjson
import pytest

from inference_service.engines.errors import error_of
from jan.errors import InvalidArgumentError
from tests.inference_service.scripted_engine import CORE_DIED

LLAMACPP_CONTEXT = (
    b'{"error":{"code":400,"message":"request (2031 tokens) exceeds the available context size (1024 tokens), try '
    b'increasing it","type":"exceed_context_size_error","n_prompt_tokens":2031,"n_ctx":1024}}'
)


@pytest.mark.parametrize(
    ("status", "body", "kind", "code"),
    [
        (400, LLAMACPP_CONTEXT, "invalid_argument", "context_length_exceeded"),
        (400, b'{"error":{"message":"no","param":"stop"}}', "invalid_argument", ""),
        (400, b'{"message":"flat","type":"BadRequestError"}', "invalid_argument", ""),
        (400, b"not json", "invalid_argument", ""),
        (500, b'{"error":{"message":"image input is not supported - hint"}}', "invalid_argument", ""),
        (401, b"", "failed_precondition", "engine_unauthorized"),
        (404, b'{"detail":"Not Found"}', "failed_precondition", "engine_not_found"),
        (429, b"", "resource_exhausted", "engine_busy"),
        (503, b'{"error":{"message":"Loading model"}}', "unavailable", "engine_unavailable"),
        (500, json.dumps(CORE_DIED).encode(), "unavailable", "engine_dead"),
        (500, b'{"error":"boom"}', "internal", ""),
        (502, b"", "internal", ""),
        (500, b"[]", "internal", ""),
    ],
)
def test_error_answers(status: int, body: bytes, kind: str, code: str) -> None:
    error = error_of(status, body)
    assert (error.kind, error.code) == (kind, code)


def test_the_context_is_told_in_openais_words() -> None:
    error = error_of(400, LLAMACPP_CONTEXT)
    assert error.message.startswith("This model's maximum context length is 1024 tokens. However, your messages")
    assert error.param == "messages"


@pytest.mark.parametrize(
    ("said", "told", "param"),
    [
        (
            "Failed to parse messages: Missing tool call type: {}",
            "The model cannot read 'messages': Missing tool call type.",
            "messages",
        ),
        (
            "Failed to parse tools: [json.exception.out_of_range.403] key 'name' not found; tools = [{}]",
            "The model cannot read 'tools': key 'name' not found.",
            "tools",
        ),
        (
            "image input is not supported - hint: if this is unexpected, you may need to provide the mmproj",
            "image input is not supported",
            "",
        ),
    ],
)
def test_a_request_that_llamacpp_cannot_read_is_the_clients_mistake(said: str, told: str, param: str) -> None:
    error = error_of(500, orjson.dumps({"error": {"code": 500, "message": said, "type": "server_error"}}))
    assert isinstance(error, InvalidArgumentError)
    assert (error.message, error.param) == (told, param)


@pytest.mark.parametrize("status", [401, 404, 429, 500, 503])
def test_what_an_engine_says_of_itself_stays_here(status: int) -> None:
    error = error_of(status, b'{"error":{"message":"cannot open /srv/models/x.gguf at 10.0.0.7:80"}}')
    assert "/srv" not in error.message
    assert "10.0.0.7" not in error.message

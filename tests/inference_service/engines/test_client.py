from __future__ import annotations

import pytest

from inference_service.engines.client import error_of

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
        (429, b"", "unavailable", "engine_busy"),
        (503, b'{"error":{"message":"Loading model"}}', "unavailable", "engine_unavailable"),
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

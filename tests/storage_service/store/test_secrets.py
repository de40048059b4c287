"""Keys in other programs' settings are found, however they lie there."""

from __future__ import annotations

import copy
from typing import Any

import orjson
import pytest

from storage_service.store import secrets

DEEP: Any = {"api_key": "sk-1"}
for _ in range(500):
    DEEP = [{"more": DEEP}]


@pytest.mark.parametrize(
    ("value", "names", "blanked"),
    [
        ({"full_url": "https://a", "api_key": "sk-1"}, ["api_key"], {"full_url": "https://a", "api_key": ""}),
        ({"api_key": "", "max_tokens": "9", "key": ""}, [], {"api_key": "", "max_tokens": "9", "key": ""}),
        ({"apiKeys": ["sk-1", "", ["sk-2"]]}, ["apiKeys", "apiKeys"], {"apiKeys": ["", "", [""]]}),
        ({"token": {"kind": "bearer", "n": 7}}, ["token"], {"token": {"kind": "", "n": 7}}),
        (
            [{"key": "openai-api-key", "title": "Key", "controllerProps": {"value": "sk-1", "placeholder": "sk-…"}}],
            ["openai-api-key"],
            [{"key": "openai-api-key", "title": "Key", "controllerProps": {"value": "", "placeholder": "sk-…"}}],
        ),
        (
            [{"key": "chat-url", "controllerProps": {"value": "https://a"}}, {"key": "x", "controllerProps": {}}],
            [],
            None,
        ),
        ("sk-1", [], None),
        (None, [], None),
    ],
)
def test_secrets_are_named_and_blanked(value: Any, names: list[str], blanked: Any) -> None:
    before = copy.deepcopy(value)
    assert list(secrets.names(value)) == names
    assert value == before
    assert secrets.blank(value) == names
    assert value == (before if blanked is None else blanked)


def test_depth_hides_no_secret() -> None:
    assert secrets.blank(DEEP) == ["api_key"]
    assert not list(secrets.names(DEEP))


@pytest.mark.parametrize(
    "value",
    [
        {"auth": {"tokens": {"access": "SK"}}},
        {"access_tokens": ["SK"]},
        {"admin_token": "SK"},
        {"hf_token": "SK"},
        {"key": "SK"},
        {"sshKey": "SK", "APIKey": "SK", "x-api-key": "SK", "OPENAI_API_KEY": "SK"},
        {"passphrase": "SK", "pwd": "SK", "pass": "SK", "passcode": "SK", "bearer": "SK", "cookie": "SK"},
        {"oauth": {"value": "SK"}, "Authorization": "SK", "credentials": {"openai": {"value": "SK"}}},
        {"headers": {"X-Auth": "SK"}},
        {"headers": [{"name": "X-Auth", "value": "SK"}]},
        {"env": [{"name": "OPENAI_API_KEY", "value": "SK"}]},
        {"env": [{"key": "OPENAI_API_KEY", "value": {"is": "SK"}}]},
        {"env": ["OPENAI_API_KEY=SK"]},
        {"args": ["serve", "--api-key", "SK", "--token=SK"]},
        {"command": "serve --api-key SK"},
        {"extra": ["-H", "Authorization: Bearer SK"]},
        {"note": "curl -H 'Bearer SK-0123456789'"},
        {"sources": [{"url": "https://me:SK@host/v1"}]},
        {"sources": ["https://SK@host"]},
        {"url": "https://host/v1?a=b&api_key=SK"},
        {"key": "mirror", "controllerProps": {"value": "https://me:SK@host", "more": {"secret": "SK"}}},
        {"key": "x", "controllerProps": {"value": 1}, "extra": {"token": "SK"}},
    ],
)
def test_what_may_be_a_key_is_taken_out(value: Any) -> None:
    assert secrets.blank(value)
    assert b"SK" not in orjson.dumps(value)
    assert not list(secrets.names(value))


@pytest.mark.parametrize(
    "value",
    [
        {"max_tokens": "2048", "maxTokens": "1", "max_completion_tokens": "1", "n_tokens": "1", "token_limit": "1"},
        {"bos_token": "<s>", "eos_token": {"content": "</s>"}, "added_tokens": ["<a>"], "stop_token": "<end>"},
        {"tokenizer": "gpt2", "tokenizer_class": "X", "detokenize": "yes", "tokenizer.ggml.tokens": ["a"]},
        {"author": "Jan", "metadata": {"authors": ["Jan"], "authored_by": "Jan"}, "keywords": ["chat"]},
        {"keyboard": "de", "num_key_value_heads": 8, "api_key": None, "token": 5, "secret": True},
        {"key": "theme", "controllerProps": {"value": "dark", "placeholder": "sk-…"}, "title": "Theme"},
        {"env": [{"name": "LANG", "value": "C"}, {"key": "HOME", "value": "/root"}]},
        {"url": "https://host/@jan/model", "source": "see https://host, or mail me@host", "ref": "model@1"},
        {"prompt_template": "<|start_header_id|>user<|end_header_id|>token: {prompt}<|eot_id|>"},
        {"args": ["--max-tokens", "5", "--threads=4", "-k", "x"]},
    ],
)
def test_what_is_no_key_stays(value: Any) -> None:
    assert not list(secrets.names(value))

"""Tokens over HTTP, on the demo model in a real engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.engine_host import EngineHost
from tests.fixtures.gateway import MODEL_ID, Gateway, write_model
from tests.fixtures.storage import StorageServer

DEMO = "demo"
CHAT = [{"role": "user", "content": "hi"}]


@pytest.fixture
def demo(storage_server: StorageServer, engine_host: EngineHost, demo_gguf: Path) -> str:
    """The demo model, where the engine host finds it."""
    settings = {"ctx_len": 256, "n_parallel": 1, "llama_model_path": "demo.gguf"}
    write_model(storage_server.janroot, DEMO, engine="llamacpp", format="gguf", sources=[], settings=settings)
    (storage_server.janroot / "models" / DEMO / "demo.gguf").symlink_to(demo_gguf)
    return DEMO


@pytest.mark.engine
async def test_texts_and_chats_are_counted_in_both_spellings(gateway: Gateway, demo: str) -> None:
    text = await gateway.json("POST", "/v1/tokenize", {"model": demo, "prompt": "Hello world"})
    assert text == {"count": 2, "max_model_len": 256, "tokens": [19556, 905], "token_strs": None}
    llama = await gateway.json("POST", "/v1/tokenize", {"model": demo, "content": "Hello 🦜", "with_pieces": True})
    assert b"".join(_bytes(token["piece"]) for token in llama["tokens"]).decode() == "Hello 🦜"
    assert any(isinstance(token["piece"], list) for token in llama["tokens"])  # parts of one character
    body = {"model": demo, "prompt": "Hello world", "return_token_strs": True}
    told = await gateway.json("POST", "/v1/tokenize", body)
    assert told["token_strs"] == ["Hello", " world"]
    chat = await gateway.json("POST", "/v1/tokenize", {"model": demo, "messages": CHAT})
    assert chat["count"] == 31  # its template tells the model who it is
    bare = {"model": demo, "messages": CHAT, "add_generation_prompt": False}
    assert (await gateway.json("POST", "/v1/tokenize", bare))["count"] < 31
    back = await gateway.json("POST", "/v1/detokenize", {"model": demo, "tokens": [19556, 905]})
    assert back == {"prompt": "Hello world", "content": "Hello world"}
    answer = await gateway.json("POST", "/v1/detokenize", {"model": demo, "tokens": [2**31 - 1]}, status=400)
    assert answer["error"]["param"] == "tokens"


def _bytes(piece: str | list[int]) -> bytes:
    return piece.encode() if isinstance(piece, str) else bytes(piece)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, None),
        ({"prompt": "a", "messages": CHAT}, None),
        ({"messages": []}, "messages"),
        ({"prompt": ["a"]}, "prompt"),
        ({"prompt": "a\0b"}, "prompt"),
        ({"messages": CHAT, "chat_template": "{{ x }}"}, "chat_template"),
        ({"messages": CHAT, "chat_template_kwargs": {"tokenize": True}}, "chat_template_kwargs"),
        ({"messages": CHAT, "continue_final_message": True}, "continue_final_message"),
        ({"messages": CHAT, "add_special_tokens": True}, "add_special_tokens"),
        ({"content": "a", "parse_special": False}, "parse_special"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages[0].content[0].image_url"),
        ({"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]}, "messages[0].content[0]"),
    ],
)
async def test_what_cannot_be_counted_is_refused(gateway: Gateway, body: dict[str, Any], param: str | None) -> None:
    answer = await gateway.json("POST", "/v1/tokenize", {"model": MODEL_ID, **body}, status=400)
    assert answer["error"]["param"] == param


async def test_a_remote_model_tells_nothing_of_its_tokens(gateway: Gateway, engine_host: EngineHost) -> None:
    for path, body in (("/v1/tokenize", {"prompt": "a"}), ("/v1/detokenize", {"tokens": [1]})):
        answer = await gateway.json("POST", path, {"model": MODEL_ID, **body}, status=400)
        assert answer["error"]["code"] == "tokens_unknown"
    answer = await gateway.json("POST", "/v1/tokenize", {"model": "nobody", "prompt": "a"}, status=404)
    assert answer["error"]["code"] == "model_not_found"


@pytest.mark.parametrize("tokens", [None, "a", [-1], [2**31], [1.5], [True]])
async def test_tokens_are_whole_numbers(gateway: Gateway, tokens: Any) -> None:
    answer = await gateway.json("POST", "/v1/detokenize", {"model": MODEL_ID, "tokens": tokens}, status=400)
    assert answer["error"]["param"].startswith("tokens")

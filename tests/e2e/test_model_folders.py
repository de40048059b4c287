"""Models that somebody puts into the janroot by hand, over HTTP and on llama.cpp: adapters, and hostile ones."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest
from openai import APIStatusError, OpenAI

from inference_service.engines.tiny_gguf import tiny_gguf
from tests.fixtures.gguf_files import lora, lora_gguf
from tests.fixtures.stack import MODEL, Stack

pytestmark = [pytest.mark.engine, pytest.mark.slow]

ENDLESS = "{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}"


@dataclass(frozen=True)
class ByHand:
    """A model's folder that a test fills. Its id is new: what runs does not look at its files again."""

    stack: Stack
    client: OpenAI
    id: str

    def put(self, weights: bytes, **settings: object) -> None:
        folder = self.stack.janroot / "models" / self.id
        folder.mkdir()
        (folder / "weights.gguf").write_bytes(weights)
        (folder / "model.json").write_text(json.dumps({"format": "gguf", "settings": settings}))

    def shown(self) -> dict[str, Any]:
        return self.client.models.retrieve(self.id).model_dump()

    def refused(self) -> dict[str, Any]:
        """What a chat is answered, which is what the model's own state tells."""
        with pytest.raises(APIStatusError) as caught:
            say(self.client, self.id)
        error: Any = caught.value.body
        assert 400 <= caught.value.status_code < 500
        model = self.shown()
        assert model["state"] == "error"
        assert model["error"] == {"code": error["code"], "message": error["message"]}
        found: dict[str, Any] = model["error"]
        return found


@pytest.fixture
def model(stack: Stack) -> Iterator[ByHand]:
    """Leaves no model behind."""
    with stack.client as client:
        made = ByHand(stack, client, f"by-hand-{uuid4().hex[:8]}")
        yield made
        client.models.delete(made.id)


def say(client: OpenAI, model: str) -> str | None:
    answer = client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": "Say hello."}], max_tokens=8, temperature=0
    )
    return answer.choices[0].message.content


def test_an_adapter_in_a_folder_answers_as_itself(model: ByHand) -> None:
    model.put(lora_gguf(lora("blk.29.attn_output.weight", 576, 576, strength=3)), base_model=MODEL)
    assert say(model.client, model.id) != say(model.client, MODEL)
    shown = model.shown()
    assert (shown["state"], shown["warnings"], shown["error"]) == ("running", [], None)
    with pytest.raises(APIStatusError, match=f"is the base of {model.id}"):
        model.client.models.delete(MODEL)


def test_an_adapter_for_another_model_says_why(model: ByHand) -> None:
    model.put(lora_gguf(lora("blk.99.attn_q.weight", 8, 8, strength=1)), base_model=MODEL)
    error = model.refused()
    assert error["code"] == "model_file_invalid"
    assert "it changes 'blk.99.attn_q.weight', which this model does not have" in error["message"]


def test_an_adapter_without_its_base_says_so(model: ByHand) -> None:
    model.put(lora_gguf(lora("blk.0.attn_q.weight", 576, 576, strength=1)), base_model="gone")
    error = model.refused()
    assert error["code"] == "model_file_missing"
    assert "is a LoRA adapter of 'gone' (its setting base_model), and there is no such model." in error["message"]


def test_a_template_that_never_ends_is_the_models_state_and_its_chats_answer(model: ByHand) -> None:
    model.put(tiny_gguf({"tokenizer.chat_template": ENDLESS}), ctx_len=64)
    error = model.refused()
    assert error["code"] == "template_unsafe"
    assert error["message"].startswith(f"The chat template of model {model.id} is not safe")
    assert say(model.client, MODEL)

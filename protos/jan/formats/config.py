"""`config.json` of a safetensors model: the architecture's numbers, and what must not be loaded.

A model that brings Python code of its own (`auto_map`) is refused: vLLM has ignored `trust_remote_code=False` three
times (CVE-2025-66448, CVE-2026-22807, CVE-2026-27893; docs/security.md S23).
"""

from __future__ import annotations

import json
from typing import Any, Final

from jan.formats.description import LyingHeaderError, ModelDescription, checked
from jan.formats.vision import has_eyes

MAX_CONFIG_BYTES: Final = 4 * 1024 * 1024
_MAX_DEPTH: Final = 32


def parse_config(data: bytes) -> dict[str, Any]:
    """The configuration. Raises LyingHeaderError: it is no JSON object, or asks for code of the model's own."""
    try:
        config = json.loads(data)
    except (ValueError, RecursionError):
        raise LyingHeaderError("its config.json is not JSON") from None
    if not isinstance(config, dict):
        raise LyingHeaderError("its config.json is not a JSON object")
    if _wants_code(config):
        raise LyingHeaderError("its config.json wants to run code of its own (auto_map), which is never done")
    return config


def describe_config(config: dict[str, Any], weights_bytes: int) -> ModelDescription:
    """The model that a configuration describes, the text part of one that also sees or hears.

    Raises LyingHeaderError: a number that no model has.
    """
    inner = config.get("text_config") or config.get("llm_config")
    text = inner if isinstance(inner, dict) else config

    def number(*names: str) -> int:
        found = [text[name] for name in names if text.get(name) is not None]
        if found and type(found[0]) is not int:
            raise LyingHeaderError(f"its config.json has no whole number as {names[0]}")
        return found[0] if found else 0

    layers, heads = number("num_hidden_layers", "n_layer"), number("num_attention_heads", "n_head")
    width = number("hidden_size", "n_embd", "d_model")
    kv_heads = number("num_key_value_heads") or heads
    head_length = number("head_dim") or (width // heads if heads > 0 else 0)
    latent = number("kv_lora_rank")
    row = latent + number("qk_rope_head_dim") if latent else 2 * kv_heads * head_length
    return checked(
        ModelDescription(
            weights_bytes=weights_bytes,
            layers=layers,
            attention_heads=heads,
            kv_heads=kv_heads,
            kv_elements=layers * row,
            embedding_length=width,
            vocabulary=number("vocab_size"),
            context_tokens=number("max_position_embeddings", "n_positions"),
            sees=has_eyes(config),
        )
    )


def _wants_code(value: Any, depth: int = 0) -> bool:
    """Whether any part says `auto_map`. Raises LyingHeaderError: it nests deeper than any configuration."""
    if depth > _MAX_DEPTH:
        raise LyingHeaderError("its config.json nests deeper than any")
    if isinstance(value, dict):
        return bool(value.get("auto_map")) or any(_wants_code(item, depth + 1) for item in value.values())
    return isinstance(value, list) and any(_wants_code(item, depth + 1) for item in value)

"""The smallest GGUF model that llama.cpp loads: one layer of zeros, a vocabulary of bytes, and given chat templates."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from math import prod
from types import MappingProxyType
from typing import Final

_UINT32, _INT32, _FLOAT32, _TEXT, _LIST = 4, 5, 6, 8, 9
_ALIGNMENT: Final = 32
_WIDTH: Final = 32
_CONTEXT: Final = 64
_TOKENS: Final = ("<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)))
_TOKEN_TYPES: Final = (2, 3, 3, *(6 for _ in range(256)))  # unknown, control, control, bytes
_SQUARE: Final = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
_TENSORS: Final = (
    ("output_norm.weight", (_WIDTH,)),
    *((f"blk.0.{name}.weight", (_WIDTH,)) for name in ("attn_norm", "ffn_norm")),
    *((f"blk.0.{name}.weight", (_WIDTH, _WIDTH)) for name in _SQUARE),
)


def tiny_gguf(templates: Mapping[str, str], added_tokens: Mapping[str, int] = MappingProxyType({})) -> bytes:
    """The whole file; `templates` by their keys (`tokenizer.chat_template`), further tokens with their types."""
    tokens, types = (*_TOKENS, *added_tokens), (*_TOKEN_TYPES, *added_tokens.values())
    numbers = {
        "llama.block_count": 1,
        "llama.context_length": _CONTEXT,
        "llama.embedding_length": _WIDTH,
        "llama.feed_forward_length": _WIDTH,
        "llama.attention.head_count": 1,
        "llama.rope.dimension_count": _WIDTH,
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
    }
    texts = {"general.architecture": "llama", "tokenizer.ggml.model": "llama", **templates}
    pairs = [
        *(_pair(key, _TEXT, _text(value)) for key, value in texts.items()),
        *(_pair(key, _UINT32, struct.pack("<I", value)) for key, value in numbers.items()),
        _pair("llama.attention.layer_norm_rms_epsilon", _FLOAT32, struct.pack("<f", 1e-5)),
        _list("tokenizer.ggml.tokens", _TEXT, map(_text, tokens)),
        _list("tokenizer.ggml.scores", _FLOAT32, (bytes(4) for _ in tokens)),
        _list("tokenizer.ggml.token_type", _INT32, (struct.pack("<i", one) for one in types)),
    ]
    tensors = (("token_embd.weight", (_WIDTH, len(tokens))), *_TENSORS)
    descriptions, data_bytes = [], 0
    for name, shape in tensors:
        sizes = struct.pack(f"<I{len(shape)}Q", len(shape), *shape)
        descriptions.append(_text(name) + sizes + struct.pack("<IQ", 0, data_bytes))
        data_bytes += _aligned(4 * prod(shape))
    head = struct.pack("<4sIQQ", b"GGUF", 3, len(tensors), len(pairs)) + b"".join(pairs) + b"".join(descriptions)
    return head + bytes(_aligned(len(head)) - len(head) + data_bytes)


def _pair(key: str, value_type: int, value: bytes) -> bytes:
    return _text(key) + struct.pack("<I", value_type) + value


def _list(key: str, item_type: int, items: Iterable[bytes]) -> bytes:
    values = list(items)
    return _pair(key, _LIST, struct.pack("<IQ", item_type, len(values)) + b"".join(values))


def _text(value: str) -> bytes:
    data = value.encode("utf-8", "replace")
    return struct.pack("<Q", len(data)) + data


def _aligned(size_bytes: int) -> int:
    return -(-size_bytes // _ALIGNMENT) * _ALIGNMENT

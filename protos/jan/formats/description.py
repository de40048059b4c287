"""What must be known of a model to tell how much memory it needs, however it is stored."""

from __future__ import annotations

from dataclasses import dataclass


class LyingHeaderError(Exception):
    """What about a header cannot be true; goes behind "<file> is not a usable model: "."""


@dataclass(frozen=True, slots=True)
class ModelDescription:
    """A model's sizes; a 0 means that the files do not tell.

    kv_elements: numbers that the KV cache holds for one token, over all layers. kv_heads: the most that one layer has.
    context_tokens: the longest context that the model was made for. sees: it takes images. vision_bytes: what an engine
    needs, at most about, to look at one, beside the weights for that.
    """

    weights_bytes: int
    layers: int = 0
    attention_heads: int = 0
    kv_heads: int = 0
    kv_elements: int = 0
    embedding_length: int = 0
    vocabulary: int = 0
    context_tokens: int = 0
    sees: bool = False
    vision_bytes: int = 0


UNKNOWN = ModelDescription(weights_bytes=0)
"""A model whose files tell nothing."""

USUAL_CTX_LEN = 8192
"""What Jan gave a model that says nothing of its context, in tokens."""


def usual_ctx_len(description: ModelDescription) -> int:
    """The context of a model whose settings say none: what it was made for, 8192 tokens at most.

    The one rule for every engine, and for what a download or an import writes into a new model.json.
    """
    return min(USUAL_CTX_LEN, description.context_tokens or USUAL_CTX_LEN)


# Ten times what the largest known model has. Larger ones are lies, and would make sums that mean nothing.
_MOST = {
    "layers": 10_000,
    "attention_heads": 65_536,
    "kv_heads": 65_536,
    "kv_elements": 2**40,
    "embedding_length": 2**20,
    "vocabulary": 2**26,
    "context_tokens": 2**40,
    "weights_bytes": 2**50,
    "vision_bytes": 2**40,
}


def checked(description: ModelDescription) -> ModelDescription:
    """The description itself. Raises LyingHeaderError: a number that no model has."""
    for name, most in _MOST.items():
        if not 0 <= getattr(description, name) <= most:
            raise LyingHeaderError(f"its {name.replace('_', ' ')} cannot be {getattr(description, name)}")
    return description

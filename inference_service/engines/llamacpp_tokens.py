"""llama.cpp's tokens, asked of its server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from inference_service.answers.tokens import TokenQuestion, Tokens
from inference_service.engines.client import EngineClient
from inference_service.engines.images import has_images
from jan.errors import InternalError, InvalidArgumentError


async def tokenize(client: EngineClient, question: TokenQuestion) -> Tokens:
    """The tokens of a text or a chat; how many, of one with images. Raises as `EngineClient.post`."""
    if question.chat is not None and has_images(question.chat["messages"]):
        counted = await client.post("/v1/chat/completions/input_tokens", question.chat)
        return Tokens((), total=int(counted["input_tokens"]))
    text = question.text if question.chat is None else await _told(client, question.chat)
    body = {
        "content": text,
        "add_special": question.add_special or question.chat is not None,
        "parse_special": True,
        "with_pieces": question.pieces,
    }
    found = (await client.post("/tokenize", body))["tokens"]
    if not question.pieces:
        return Tokens(found)
    return Tokens([token["id"] for token in found], [_bytes(token["piece"]) for token in found])


async def detokenize(client: EngineClient, tokens: Sequence[int]) -> str:
    """The text of tokens. Raises InvalidArgumentError: the model has no such token."""
    try:
        return str((await client.post("/detokenize", {"tokens": list(tokens)}))["content"])
    except InternalError:  # which is what it makes of a number beyond its vocabulary
        message = "The model does not have all of these tokens."
        raise InvalidArgumentError(message, param="tokens", code="invalid_value") from None


async def _told(client: EngineClient, chat: Mapping[str, Any]) -> str:
    return str((await client.post("/apply-template", chat))["prompt"])


def _bytes(piece: object) -> bytes:
    """A piece that is no text by itself is told as its bytes."""
    return bytes(piece) if isinstance(piece, list) else str(piece).encode()

"""vLLM's tokens, asked of its server."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from inference_service.answers.tokens import TokenQuestion, Tokens
from inference_service.engines.client import EngineClient
from jan.errors import InvalidArgumentError


async def tokenize(client: EngineClient, model: str, question: TokenQuestion) -> Tokens:
    """The tokens of a text or a chat, as the served model reads them. Raises as `EngineClient.post`."""
    body: dict[str, Any] = {"model": model, "return_token_strs": question.pieces}
    if question.chat is None:
        body |= {"prompt": question.text, "add_special_tokens": question.add_special}
    else:
        body |= {name: value for name, value in question.chat.items() if name != "tool_choice"}
    found = await client.post("/tokenize", body)
    return Tokens(found["tokens"], [piece.encode() for piece in found.get("token_strs") or ()])


async def detokenize(client: EngineClient, model: str, tokens: Sequence[int]) -> str:
    """The text of tokens. Raises as `EngineClient.post`."""
    return str((await client.post("/detokenize", {"model": model, "tokens": list(tokens)}))["prompt"])


def no_such_token() -> InvalidArgumentError:
    """The answer to a number beyond the vocabulary."""
    return InvalidArgumentError("The model does not have all of these tokens.", param="tokens", code="invalid_value")

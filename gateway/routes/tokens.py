"""POST /v1/tokenize and /v1/detokenize, as vLLM and llama.cpp have them at their roots: counting before asking."""

from __future__ import annotations

import json
from typing import Any

from aiohttp import web

from gateway.http.body import json_response, read_body
from gateway.keys import INFERENCE
from gateway.models.coming import find_usable_or_any
from gateway.models.lookup import model_spec
from gateway.schemas.tokens import DetokenizeRequest, TokenizeRequest
from jan.inference.v1 import control_pb2

routes = web.RouteTableDef()


@routes.post("/v1/tokenize")
async def tokenize(request: web.Request) -> web.Response:
    """The tokens of a text, or of a chat as the model's template tells it, and how many there are.

    The model is loaded for that if it is not.
    """
    body = await read_body(request, TokenizeRequest)
    body.check_supported()
    model = await find_usable_or_any(request, body.model or "")
    question = control_pb2.TokenizeRequest(model=model_spec(model), add_special=body.begins, with_pieces=body.pieces)
    chat = body.chat()
    if chat is None:
        question.text = body.prompt if body.prompt is not None else body.content or ""
    else:
        question.chat_json = json.dumps(chat)
    return json_response(_told(body, await request.app[INFERENCE].tokenize(question)))


@routes.post("/v1/detokenize")
async def detokenize(request: web.Request) -> web.Response:
    """The text of tokens, under vLLM's name and llama.cpp's."""
    body = await read_body(request, DetokenizeRequest)
    model = await find_usable_or_any(request, body.model or "")
    question = control_pb2.DetokenizeRequest(model=model_spec(model), tokens=body.tokens)
    text = await request.app[INFERENCE].detokenize(question)
    return json_response({"prompt": text, "content": text})


def _told(body: TokenizeRequest, found: control_pb2.TokenizeResponse) -> dict[str, Any]:
    """VLLM's answer; llama.cpp's clients find in `tokens` what they asked for."""
    tokens: list[Any] = list(found.tokens)
    pieces = [_piece(piece) for piece in found.pieces]
    if body.with_pieces:
        tokens = [{"id": token, "piece": piece} for token, piece in zip(found.tokens, pieces, strict=True)]
    return {
        "count": len(found.tokens),
        "max_model_len": found.ctx_len or None,
        "tokens": tokens,
        "token_strs": pieces if body.return_token_strs else None,
    }


def _piece(piece: bytes) -> str | list[int]:
    """A piece as text or, where it is a part of a character only, its bytes, as llama.cpp tells them."""
    try:
        return piece.decode()
    except UnicodeDecodeError:
        return list(piece)

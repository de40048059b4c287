"""What is kept of a chat that was asked for with `store`: the answer, what it was asked with, and the messages."""

from __future__ import annotations

from typing import Any

import orjson

from gateway.convert.json_fields import from_text, string_map
from gateway.schemas.chat import ChatCompletionRequest
from gateway.schemas.chat_messages import ChatMessage
from gateway.schemas.common import JsonObject
from jan.errors import InvalidArgumentError
from jan.storage.v1 import completions_pb2

MAX_KEPT_BYTES = 8 * 1024 * 1024
"""Of a request; with its answer it stays below what storage reads."""
_OWNER_DIGITS = 32

# What OpenAI tells of the request together with a stored answer.
_ASKED_WITH = (
    *("temperature", "top_p", "presence_penalty", "frequency_penalty", "seed", "tools", "tool_choice"),
    *("response_format", "reasoning_effort", "parallel_tool_calls"),
)


def owner_of(key_digest: str) -> str:
    """Whose a completion is, as its file tells: enough of the key's digest to know it again; empty without a key."""
    return key_digest[:_OWNER_DIGITS]


def kept_request(request: ChatCompletionRequest, completion_id: str, owner: str) -> bytes:
    """What is remembered of a request until its answer is there, as JSON.

    Raises InvalidArgumentError: it is larger than what is kept.
    """
    parameters = request.parameters()
    messages = [_message(message, f"{completion_id}-{place}") for place, message in enumerate(request.messages)]
    kept = orjson.dumps(
        {
            "owner": owner,
            "asked_with": {name: parameters.get(name) for name in _ASKED_WITH} | {"input_user": request.person},
            "messages": messages,
            "metadata": request.metadata or {},
        }
    )
    if len(kept) > MAX_KEPT_BYTES:
        message = f"A stored chat may hold at most {MAX_KEPT_BYTES} bytes; send it without 'store'."
        raise InvalidArgumentError(message, param="store", code="too_large_to_store")
    return kept


def to_proto(kept: bytes, answer: JsonObject) -> completions_pb2.Completion:
    """A request and its answer as storage keeps them."""
    asked = orjson.loads(kept)
    completion = completions_pb2.Completion(
        id=answer["id"],
        owner=asked["owner"],
        model=answer["model"],
        completion_json=orjson.dumps({**answer, **asked["asked_with"]}).decode(),
        messages_json=orjson.dumps(asked["messages"]).decode(),
        metadata_json=orjson.dumps(asked["metadata"]).decode(),
    )
    completion.created_at.FromSeconds(answer["created"])
    return completion


def from_proto(completion: completions_pb2.Completion) -> JsonObject:
    """OpenAI's object of a stored completion."""
    return {**from_text(completion.completion_json, {}), "metadata": string_map(completion.metadata_json)}


def messages_of(completion: completions_pb2.Completion) -> list[JsonObject]:
    """The messages that it was asked with, in order."""
    messages: list[JsonObject] = from_text(completion.messages_json, [])
    return messages


def _message(message: ChatMessage, message_id: str) -> JsonObject:
    parts = message.content or []
    told: dict[str, Any] = {
        "id": message_id,
        "role": message.role,
        "content": "".join(part.said for part in parts) if message.content is not None else None,
        "content_parts": [part.for_engine() for part in parts] if len(parts) > 1 or message.image is not None else None,
        "refusal": message.refusal,
        "name": message.name,
    }
    calls = {
        "tool_calls": [call.model_dump() for call in message.tool_calls] if message.tool_calls else None,
        "tool_call_id": message.tool_call_id,
        "function_call": message.function_call.model_dump() if message.function_call else None,
    }
    return told | {name: value for name, value in calls.items() if value is not None}

"""What a model is shown of a thread: its instructions and messages as chat messages."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from gateway.convert.json_fields import from_text
from jan.storage.v1 import messages_pb2, runs_pb2

# What a model that reads text only is shown instead, so that it does not answer as if nothing had been there.
UNSEEN_IMAGE = "[an image that you cannot see]"

_IMAGES = frozenset({"image_url", "image_file"})
_ROLES = {
    messages_pb2.MESSAGE_ROLE_USER: "user",
    messages_pb2.MESSAGE_ROLE_ASSISTANT: "assistant",
    messages_pb2.MESSAGE_ROLE_SYSTEM: "system",
}


def conversation(run: runs_pb2.Run, messages: Sequence[messages_pb2.Message]) -> list[dict[str, Any]]:
    """The chat messages for a run, oldest first: instructions, then the thread, cut as the run's strategy says.

    What the run itself wrote is left out, so that a run that is taken over sees what it saw first. Consecutive
    messages of one role are kept apart; the chat template decides what to make of them.
    """
    system = [{"role": "system", "content": run.instructions}] if run.instructions else []
    spoken = [
        {"role": _ROLES[message.role], "content": message_text(message)}
        for message in messages
        if message.role in _ROLES and message.run_id != run.id
    ]
    return system + _truncated(run, [message for message in spoken if message["content"]])


def message_text(message: messages_pb2.Message) -> str:
    """The text of a message; of what is not text the model is told that it is there."""
    return "\n".join(_texts(from_text(message.content_json, [])))


def _texts(parts: Iterable[dict[str, Any]]) -> Iterable[str]:
    for part in parts:
        # Jan's `reasoning` parts hold a text too, which no model is shown again.
        text = part.get("text") if part.get("type", "text") == "text" else None
        if isinstance(text, dict):
            yield str(text.get("value", ""))
        elif isinstance(text, str):
            yield text
        elif part.get("type") in _IMAGES:
            yield UNSEEN_IMAGE


def _truncated(run: runs_pb2.Run, messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    strategy = from_text(run.truncation_strategy_json, {})
    if strategy.get("type") == "last_messages" and strategy.get("last_messages"):
        return messages[-strategy["last_messages"] :]
    return messages

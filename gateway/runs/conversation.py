"""What a model is shown of a thread: its instructions and messages as chat messages."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from gateway.convert.items import COMPACTION, FILE, FUNCTION_CALL, FUNCTION_OUTPUT
from gateway.convert.json_fields import from_text
from gateway.images.places import IMAGE_FILE, OF_MESSAGE
from gateway.runs import derived_ids
from gateway.runs.calls import calls_of
from gateway.schemas.namespaces import flat_name
from jan.storage.v1 import messages_pb2, runs_pb2

# What a model that reads text only is shown instead, so that it does not answer as if nothing had been there.
UNSEEN_IMAGE = "[an image that you cannot see]"
# Says of a compaction what it is.
SUMMARY = "Summary of the conversation up to here:"

_IMAGES = frozenset({"image_url", "image_file"})
_ROLES = {
    messages_pb2.MESSAGE_ROLE_USER: "user",
    messages_pb2.MESSAGE_ROLE_ASSISTANT: "assistant",
    messages_pb2.MESSAGE_ROLE_SYSTEM: "system",
}


JsonObject = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Conversation:
    """The chat messages for a run's present round, oldest first.

    Instructions; the thread; what the run said and called in the rounds before, with the outputs.
    """

    system: list[JsonObject]
    thread: list[JsonObject]
    said: list[JsonObject]

    def messages(self) -> list[JsonObject]:
        """All of it."""
        return self.system + self.thread + self.said

    def newest(self, count: int) -> Conversation:
        """With the newest messages of the thread alone."""
        return replace(self, thread=self.thread[-count:])

    def shortened(self, count: int) -> Conversation:
        """With so many messages of the thread: the first, which tells what it is about, and the newest."""
        if count >= len(self.thread):
            return self
        return self.newest(1) if count <= 1 else replace(self, thread=self.thread[:1] + self.thread[1 - count :])


def conversation(
    run: runs_pb2.Run,
    messages: Sequence[messages_pb2.Message],
    steps: Sequence[runs_pb2.RunStep] = (),
    *,
    sees: bool = False,
) -> Conversation:
    """What a run may be shown; steps: the calls of its rounds before.

    sees: its model takes images, which are parts of people's messages then, as stored; others are told that one was.
    What its present round wrote is left out, so that a run that is taken over sees what it saw first. Consecutive
    messages of one role are kept apart; the chat template decides what to make of them.
    """
    system = [{"role": "system", "content": run.instructions}] if run.instructions else []
    thread = chat_messages([message for message in messages if message.run_id != run.id], sees=sees)
    said = [said for round_ in range(1, run.round) for said in _said(run.id, round_, messages, steps)]
    return Conversation(system, thread, said)


def chat_messages(messages: Sequence[messages_pb2.Message], *, sees: bool = False) -> list[dict[str, Any]]:
    """What messages say, as chats tell it. Calls that responses made are told with their outputs, or not at all.

    An output that the model never asked for is told as one that it did ask for, once no call waits for its own:
    chats know no other.
    """
    parts = [function_part(message) for message in messages]
    kinds = (FUNCTION_CALL, FUNCTION_OUTPUT)
    made, answered = ({part.get("call_id") for part in parts if part and part["type"] == kind} for kind in kinds)
    told: list[dict[str, Any]] = []
    unasked: list[dict[str, Any]] = []
    waiting: set[str] = set()
    for message, part in zip(messages, parts, strict=True):
        if part is None:
            content = _shown(message) if sees else message_text(message)
            if content and message.role in _ROLES:
                _tell_said(told, _ROLES[message.role], content)
        elif not part.get("call_id"):
            call_id = derived_ids.unasked_call_id(message.id)
            unasked += [{**part, "type": kind, "call_id": call_id, "arguments": "{}"} for kind in kinds]
        elif part["call_id"] in made & answered:
            _tell(told, part)
            (waiting.add if part["type"] == FUNCTION_CALL else waiting.discard)(part["call_id"])
        if not waiting:
            _tell_all(told, unasked)
    _tell_all(told, unasked)
    return told


def function_part(message: messages_pb2.Message) -> dict[str, Any] | None:
    """What a message of the Responses API says of a function; None for one that somebody said."""
    parts = from_text(message.content_json, [])
    is_one = len(parts) == 1 and parts[0].get("type") in (FUNCTION_CALL, FUNCTION_OUTPUT)
    names_it = is_one and (parts[0].get("call_id") or (parts[0]["type"] == FUNCTION_OUTPUT and parts[0].get("name")))
    return parts[0] if names_it else None


def _tell_said(told: list[dict[str, Any]], role: str, content: str | list[dict[str, Any]]) -> None:
    """Add what somebody said. What the model said right behind its calls joins them: their outputs must follow them."""
    if role == "assistant" and told and "tool_calls" in told[-1]:
        told[-1]["content"] = f"{told[-1]['content']}\n{content}" if told[-1]["content"] else content
    else:
        told.append({"role": role, "content": content})


def _tell(told: list[dict[str, Any]], part: dict[str, Any]) -> None:
    """Add a call to the message with the calls in front of it, if that is what stands there; or an output."""
    if part["type"] == FUNCTION_OUTPUT:
        told.append({"role": "tool", "tool_call_id": part["call_id"], "content": part.get("output") or ""})
        return
    name = flat_name(part.get("name") or "", part.get("namespace"))
    function = {"name": name, "arguments": part.get("arguments") or ""}
    call = {"id": part["call_id"], "type": "function", "function": function}
    if told and "tool_calls" in told[-1]:
        told[-1]["tool_calls"].append(call)
    else:
        told.append({"role": "assistant", "content": None, "tool_calls": [call]})


def _tell_all(told: list[dict[str, Any]], parts: list[dict[str, Any]]) -> None:
    """Add what was put off, once."""
    for part in parts:
        _tell(told, part)
    parts.clear()


def _said(
    run_id: str, round_: int, messages: Sequence[messages_pb2.Message], steps: Sequence[runs_pb2.RunStep]
) -> list[dict[str, Any]]:
    """A round that is over, as chats tell it: one message with the calls, then each call's output."""
    message_id, step_id = derived_ids.message_id(run_id, round_), derived_ids.calls_step_id(run_id, round_)
    text = next((message_text(message) for message in messages if message.id == message_id), "")
    calls = next((calls_of(step) for step in steps if step.id == step_id), [])
    told = [
        {
            "id": call["id"],
            "type": "function",
            "function": {name: call["function"][name] for name in ("name", "arguments")},
        }
        for call in calls
    ]
    outputs = [
        {"role": "tool", "tool_call_id": call["id"], "content": call["function"].get("output") or ""} for call in calls
    ]
    return [{"role": "assistant", "content": text or None, "tool_calls": told}, *outputs]


def around_file(name: str) -> tuple[str, str]:
    """The line before a document as models read it, and the line behind it."""
    return f"File '{name or 'unnamed'}':", "(End of the file.)"


def told_file(name: str, text: str) -> str:
    """A document as models read it."""
    head, tail = around_file(name)
    return f"{head}\n{text}\n{tail}"


def message_text(message: messages_pb2.Message) -> str:
    """The text of a message; of what is not text the model is told that it is there."""
    return "\n".join(_texts(from_text(message.content_json, [])))


def _shown(message: messages_pb2.Message) -> str | list[dict[str, Any]]:
    """The same for a model that sees, with a person's images between the texts."""
    parts = from_text(message.content_json, [])
    if message.role != messages_pb2.MESSAGE_ROLE_USER or not any(part.get("type") in _IMAGES for part in parts):
        return message_text(message)
    shown: list[dict[str, Any]] = []
    for part in parts:
        if part.get("type") in _IMAGES and isinstance(part.get(part["type"]), dict):
            of_message = {OF_MESSAGE: (message.thread_id, message.id)} if part["type"] == IMAGE_FILE else {}
            shown.append({"type": part["type"], part["type"]: {**part[part["type"]], **of_message}})
        else:
            shown += [{"type": "text", "text": text} for text in _texts([part])]
    return shown


def _texts(parts: Iterable[dict[str, Any]]) -> Iterable[str]:
    for part in parts:
        # Jan's `reasoning` parts hold a text too, which no model is shown again.
        text = part.get("text") if part.get("type", "text") == "text" else None
        if isinstance(text, dict):
            yield str(text.get("value", ""))
        elif isinstance(text, str):
            yield text
        elif part.get("type") == COMPACTION:
            yield f"{SUMMARY}\n{part.get('summary') or ''}"
        elif part.get("type") == FILE and isinstance(part.get(FILE), dict) and part[FILE].get("text"):
            yield told_file(part[FILE].get("filename") or "", part[FILE]["text"])
        elif part.get("type") in _IMAGES:
            yield UNSEEN_IMAGE

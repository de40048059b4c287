"""A line of messages.jsonl: Jan v0.4/v0.5 as we write it, and what Jan 0.5.13 to 0.6 and cortex made of it."""

import hashlib
from typing import Any

import orjson

from jan.errors import InvalidArgumentError
from jan.ids import MessageId, ThreadId
from storage_service.store.forms import content, fields
from storage_service.store.records import JsonObject, Message, MessageStatus, Role

# Jan's words for OpenAI's states. We write Jan's, so that desktop Jan shows the message as it is.
_JAN_STATUS = {
    MessageStatus.COMPLETED: "ready",
    MessageStatus.IN_PROGRESS: "pending",
    MessageStatus.INCOMPLETE: "stopped",
}
_STATUS = {jan: status for status, jan in _JAN_STATUS.items()} | {"error": MessageStatus.INCOMPLETE}


def id_of(raw: JsonObject) -> MessageId | None:
    """The message's id; None when the line is no message.

    A message without an id that can be used is given one by what it says, the same at every reading.
    """
    try:
        return MessageId.parse(fields.text(raw, "id"))
    except InvalidArgumentError:
        if "content" not in raw or "role" not in raw:
            return None
        return MessageId(f"msg_{hashlib.sha256(orjson.dumps(raw)).hexdigest()[:24]}")


def created_ms_of(raw: JsonObject) -> int | None:
    """When the message was made, if the line says so."""
    return fields.time_ms(raw, "created", "created_at")


def from_json(thread_id: ThreadId, message_id: MessageId, raw: JsonObject, created_ms: int) -> Message:
    """A message from its line. It belongs to the thread whose folder it lies in, whatever the line says.

    `created_ms` is its time in the thread's order, for a line that names none.
    """
    status = fields.text(raw, "status")
    return Message(
        id=message_id,
        thread_id=thread_id,
        role=fields.word(Role, fields.text(raw, "role"), Role.USER),
        content=content.parts(raw),
        created_ms=created_ms,
        status=_status(status),
        completed_ms=fields.time_ms(raw, "completed_at"),
        incomplete_ms=fields.time_ms(raw, "incomplete_at"),
        incomplete_reason=fields.text(fields.obj(raw, "incomplete_details"), "reason")
        or ("run_failed" if status == "error" else ""),
        assistant_id=fields.text(raw, "assistant_id"),
        run_id=fields.text(raw, "run_id"),
        attachments=content.attachments(raw),
        metadata=fields.obj(raw, "metadata"),
    )


def to_json(message: Message) -> JsonObject:
    """The line for a new message, in Jan's order of keys; OpenAI's extra fields follow when they hold something."""
    reason = message.incomplete_reason
    extras = {
        "completed_at": message.completed_ms,
        "incomplete_at": message.incomplete_ms,
        "incomplete_details": {"reason": reason} if reason else None,
        "assistant_id": message.assistant_id or None,
        "run_id": message.run_id or None,
        "attachments": message.attachments or None,
        "metadata": message.metadata or None,
    }
    return {
        "id": message.id,
        "thread_id": message.thread_id,
        "role": message.role,
        "status": _JAN_STATUS[message.status],
        "created": message.created_ms,
        "updated": message.created_ms,
        "object": "thread.message",
        "content": message.content,
    } | fields.without_none(extras)


def text_of(parts: list[JsonObject]) -> str:
    """What the text parts of a message say, a part a line."""
    texts = (part.get("text") for part in parts)
    said = (text.get("value") if isinstance(text, dict) else text for text in texts)
    return "\n".join(text for text in said if isinstance(text, str))


def text_of_line(raw: JsonObject) -> str:
    """What the message on a line says."""
    return text_of(content.parts(raw))


def change(raw: JsonObject, before: Message, after: Message, now_ms: int) -> JsonObject:
    """The line's JSON after a change of the message."""
    changed = fields.overlay(raw, to_json(before), to_json(after))
    return changed | {"updated": now_ms}


def moved(raw: JsonObject, old_id: ThreadId, new_id: ThreadId) -> JsonObject:
    """The line as a copy of its thread has it: of the new thread, with its files there, of a run that is not there."""
    return renamed({key: value for key, value in raw.items() if key != "run_id"}, old_id, new_id)


def renamed(raw: JsonObject, old_id: str, new_id: str) -> JsonObject:
    """The line as it is in a thread of another name: of that thread, with its files there."""
    line = raw | {"thread_id": new_id}
    content = raw.get("content")
    if isinstance(content, list):
        line["content"] = [_part_moved(part, f"threads/{old_id}/", f"threads/{new_id}/") for part in content]
    return line


def _part_moved(part: Any, old: str, new: str) -> Any:
    """A content part whose annotations, when they are paths into the old folder as Jan wrote them, lead to the new."""
    text = fields.obj(part, "text") if isinstance(part, dict) else {}
    if not isinstance(text.get("annotations"), list):
        return part
    paths = [
        new + item.removeprefix(old) if isinstance(item, str) and item.startswith(old) else item
        for item in text["annotations"]
    ]
    return part | {"text": text | {"annotations": paths}}


def _status(status: str) -> MessageStatus:
    return _STATUS.get(status) or fields.word(MessageStatus, status, MessageStatus.COMPLETED)

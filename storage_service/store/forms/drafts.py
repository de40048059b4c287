"""The drafts of November 2023: `models`, `summary`, `model_id` on a thread, and its messages inside its own file.

Nobody but early testers has such files; they are turned into the later forms here and nowhere else.
"""

from typing import Any

from jan.errors import InvalidArgumentError
from jan.ids import MessageId, ThreadId
from storage_service.store.forms import fields
from storage_service.store.forms import threads as thread_form
from storage_service.store.records import JsonObject, Thread


def thread_file(raw: JsonObject, thread: Thread) -> JsonObject:
    """The thread.json of a flat thread that becomes a folder: today's form, and every key that it does not know.

    `models` stays as it is: the draft's entries say more than is read of them.
    """
    written = {key: value for key, value in thread_form.to_json(thread).items() if key != "models"}
    return written | {key: value for key, value in raw.items() if key not in written and key != "messages"}


def message_lines(thread_id: ThreadId, raw: JsonObject, made_ms: int) -> list[JsonObject]:
    """The messages inside a thread's file as lines of a messages.jsonl; what is neither text nor object is left out.

    A message without an id is given one by its place, so that it has the same at every reading and after conversion.
    """
    messages = raw.get("messages")
    items = messages if isinstance(messages, list) else []
    lines = (_line(thread_id, place, item, made_ms) for place, item in enumerate(items))
    return [line for line in lines if line is not None]


def _line(thread_id: ThreadId, place: int, item: Any, made_ms: int) -> JsonObject | None:
    if isinstance(item, str):
        # Bare texts say nothing of who spoke: people begin, and take turns with the assistant.
        item = {"role": "user" if place % 2 == 0 else "assistant", "content": item}
    if not isinstance(item, dict):
        return None
    content = item.get("content")
    made = {
        "id": f"msg_{place}",
        "thread_id": thread_id,
        "role": "user",
        "status": "ready",
        "created": fields.time_ms(item, "created", "created_at") or made_ms,
        "object": "thread.message",
    }
    line = made | item
    if not _is_message_id(line["id"]):
        line["id"] = made["id"]
    if isinstance(content, str):
        line["content"] = [{"type": "text", "text": {"value": content, "annotations": []}}]
    return line


def _is_message_id(value: Any) -> bool:
    try:
        MessageId.parse(value if isinstance(value, str) else "")
    except InvalidArgumentError:
        return False
    return True

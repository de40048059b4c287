"""thread.json: Jan v0.4/v0.5 as we write it, and what Jan 0.6 made of it."""

from jan.errors import InvalidArgumentError
from jan.ids import AssistantId, ThreadId
from storage_service.store.forms import fields
from storage_service.store.records import JsonObject, Thread, ThreadAssistant


def from_json(thread_id: ThreadId, raw: JsonObject, made_ms: int) -> Thread:
    """A thread from its file. No field is required; `made_ms` stands in for a missing creation time.

    The folder's name is the id, whatever the file says: Jan listed by one and deleted by the other, so a thread
    where they differed could not be deleted.
    """
    created_ms = fields.time_ms(raw, "created", "created_at") or made_ms
    metadata = fields.obj(raw, "metadata")
    return Thread(
        id=thread_id,
        created_ms=created_ms,
        updated_ms=fields.time_ms(raw, "updated", "updated_at") or created_ms,
        title=fields.text(raw, "title") or fields.text(metadata, "title"),
        assistants=_assistants(raw),
        metadata=metadata,
        tool_resources=fields.optional_obj(raw, "tool_resources"),
    )


def to_json(thread: Thread) -> JsonObject:
    """The file for a new thread, in Jan's order of keys."""
    return fields.without_none(
        {
            "id": thread.id,
            "object": "thread",
            "title": thread.title,
            "assistants": [_assistant_to_json(assistant) for assistant in thread.assistants],
            "created": thread.created_ms,
            "updated": thread.updated_ms,
            "metadata": thread.metadata,
            "tool_resources": thread.tool_resources,
        }
    )


def change(raw: JsonObject, before: Thread, after: Thread) -> JsonObject:
    """The file's JSON after a change of the thread."""
    changed = fields.overlay(raw, to_json(before), to_json(after))
    if after.assistants != before.assistants:
        changed["assistants"] = [
            _over_old(old, new)
            for old, new in zip(
                fields.objects(raw, "assistants") + [{}] * len(after.assistants), changed["assistants"], strict=False
            )
        ]
    return changed


def _assistants(raw: JsonObject) -> tuple[ThreadAssistant, ...]:
    assistants = (_assistant_from_json(item) for item in fields.objects(raw, "assistants"))
    return tuple(assistant for assistant in assistants if assistant is not None)


def _assistant_from_json(raw: JsonObject) -> ThreadAssistant | None:
    """One of a thread's assistants; Jan 0.6 calls its fields `id` and `name`. None: no usable id."""
    try:
        assistant_id = AssistantId.parse(fields.text(raw, "assistant_id") or fields.text(raw, "id"))
    except InvalidArgumentError:
        return None
    model = fields.obj(raw, "model")
    model_id = fields.text(model, "id")
    return ThreadAssistant(
        assistant_id=assistant_id,
        assistant_name=fields.text(raw, "assistant_name") or fields.text(raw, "name"),
        instructions=fields.text(raw, "instructions"),
        model_id="" if model_id == "*" else model_id,
        settings=fields.obj(model, "settings"),
        parameters=fields.obj(model, "parameters"),
    )


def _assistant_to_json(assistant: ThreadAssistant) -> JsonObject:
    return {
        "assistant_id": assistant.assistant_id,
        "assistant_name": assistant.assistant_name,
        "instructions": assistant.instructions,
        "model": {
            "id": assistant.model_id or "*",
            "settings": assistant.settings,
            "parameters": assistant.parameters,
        },
    }


def _over_old(old: JsonObject, new: JsonObject) -> JsonObject:
    """A changed assistant keeps the keys that only the file knows (`tools`, `model.engine`) while it is the same."""
    if (old.get("assistant_id") or old.get("id")) != new["assistant_id"]:
        return new
    return old | new | {"model": fields.obj(old, "model") | new["model"]}

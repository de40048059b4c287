"""thread.json: Jan v0.4/v0.5 as we write it, what the drafts of 2023 had, and what cortex and Jan 0.6 made of it."""

from dataclasses import replace

from jan.errors import InvalidArgumentError
from jan.ids import AssistantId, ThreadId
from storage_service.store.forms import fields, thread_models
from storage_service.store.records import JsonObject, Thread, ThreadAssistant

# Later than any time that a file may name.
_NEVER_MS = 1 << 62


def from_json(thread_id: ThreadId, raw: JsonObject, made_ms: int, first_message_ms: int | None = None) -> Thread:
    """A thread from its file. No field is required; `made_ms` stands in for a missing creation time.

    The folder's name is the id, whatever the file says: Jan listed by one and deleted by the other, so a thread
    where they differed could not be deleted. `first_message_ms` is wanted where `forgets_creation` says so.
    """
    created_ms = min(fields.time_ms(raw, "created", "created_at") or made_ms, first_message_ms or _NEVER_MS)
    metadata = fields.obj(raw, "metadata")
    return Thread(
        id=thread_id,
        created_ms=created_ms,
        updated_ms=fields.time_ms(raw, "updated", "updated_at") or created_ms,
        title=next((fields.text(home, key) for home, key in _titles(raw) if fields.text(home, key)), ""),
        assistants=_assistants(thread_id, raw),
        metadata=metadata,
        tool_resources=fields.optional_obj(raw, "tool_resources"),
        models=thread_models.from_json(raw),
    )


def forgets_creation(raw: JsonObject) -> bool:
    """Whether the file is of Jan 0.6 or later, which wrote the time of every change as that of creation, too."""
    return (
        isinstance(raw.get("created"), float)
        or "isFavorite" in raw
        or "order" in raw
        or "provider" in fields.obj(raw, "model")
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
            "models": thread_models.to_json(thread.models),
        }
    )


def change(raw: JsonObject, before: Thread, after: Thread) -> JsonObject:
    """The file's JSON after a change of the thread. What a Jan reads elsewhere in the file is changed with it."""
    changed = fields.overlay(raw, to_json(before), to_json(after))
    if after.title != before.title:
        changed = _retitled(changed, after.title)
    if after.assistants != before.assistants:
        old = _raw_assistants(raw) + [{}] * len(after.assistants)
        changed["assistants"] = list(map(_over_old, old, changed["assistants"]))
        changed = _with_top_model(changed, after)
    if after.models != before.models:
        changed = fields.without_none(changed | {"models": thread_models.change(raw, after.models)})
    return changed


def _titles(raw: JsonObject) -> list[tuple[JsonObject, str]]:
    """Where a title may stand: Jan's own place, cortex's, and those of the drafts."""
    metadata = fields.obj(raw, "metadata")
    return [(raw, "title"), (metadata, "title"), (raw, "summary"), (metadata, "summary")]


def _retitled(raw: JsonObject, title: str) -> JsonObject:
    """The title in every place that had one, or an old one would show where the new one is not looked for."""
    metadata = fields.obj(raw, "metadata")
    stale = {key: title for key in ("title", "summary") if key in metadata}
    changed = raw | {"title": title} | ({"summary": title} if "summary" in raw else {})
    return changed | ({"metadata": metadata | stale} if stale else {})


def _with_top_model(raw: JsonObject, thread: Thread) -> JsonObject:
    """Jan 0.6 reads the model beside the assistants; where the file has it there, it follows the first of them."""
    model = fields.obj(raw, "model")
    model_id = thread.assistants[0].model_id if thread.assistants else ""
    return raw | {"model": model | {"id": model_id}} if model and model_id else raw


def _raw_assistants(raw: JsonObject) -> list[JsonObject]:
    """The file's assistants as objects; one draft had only their ids."""
    items = raw.get("assistants")
    listed = items if isinstance(items, list) else []
    return [
        {"assistant_id": item} if isinstance(item, str) else item for item in listed if isinstance(item, str | dict)
    ]


def _assistants(thread_id: ThreadId, raw: JsonObject) -> tuple[ThreadAssistant, ...]:
    """Who answers. What the file says of the model outside of `assistants` belongs to the first of them."""
    model = _model_beside(raw)
    named = [item for item in map(_assistant_from_json, _raw_assistants(raw)) if item is not None]
    if not named and "models" in raw:
        named = [ThreadAssistant(_named_after(thread_id))]
    if not named or model is None:
        return tuple(named)
    first = named[0]
    first = replace(
        first,
        model_id=first.model_id or model.model_id,
        settings=model.settings | first.settings,
        parameters=model.parameters | first.parameters,
    )
    return (first, *named[1:])


def _model_beside(raw: JsonObject) -> ThreadAssistant | None:
    """The model that Jan 0.6 (`model`) and the drafts (`models[0]`, `model_id`) name on the thread itself."""
    models = raw.get("models")
    is_draft = not any("model" in assistant for assistant in _raw_assistants(raw))
    first = models[0] if is_draft and isinstance(models, list) and models else {}
    model = {"id": first} if isinstance(first, str) else first if isinstance(first, dict) else {}
    model = fields.obj(raw, "model") or model or raw
    model_id = fields.text(model, "id" if model is not raw else "model_id") or fields.text(model, "name")
    settings, parameters = fields.obj(model, "settings"), fields.obj(model, "parameters")
    if not model_id and not settings and not parameters:
        return None
    return ThreadAssistant(AssistantId("jan"), "", "", "" if model_id == "*" else model_id, settings, parameters)


def _named_after(thread_id: ThreadId) -> AssistantId:
    """Whom a thread is named after: what stands before the last underscore; `jan` when that is nobody."""
    try:
        return AssistantId.parse(thread_id.rpartition("_")[0])
    except InvalidArgumentError:
        return AssistantId("jan")


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
    """A changed assistant keeps the keys that only the file knows (`tools`, `model.engine`) while it is the same.

    Jan 0.6's `name` follows; its `id` is the same anyway.
    """
    if (old.get("assistant_id") or old.get("id")) != new["assistant_id"]:
        return new
    name = {"name": new["assistant_name"]} if "name" in old else {}
    return old | new | name | {"model": fields.obj(old, "model") | new["model"]}

"""assistant.json: Jan v0.4/v0.5 as we write it, with OpenAI's fields beside, and what came before and after."""

from typing import Any

from jan.ids import AssistantId
from storage_service.store.forms import fields
from storage_service.store.records import Assistant, JsonObject


def from_json(assistant_id: AssistantId, raw: JsonObject, made_ms: int) -> Assistant:
    """An assistant from its file. No field is required; `made_ms` stands in for a missing creation time."""
    file_ids = raw.get("file_ids")
    return Assistant(
        id=assistant_id,
        created_ms=fields.time_ms(raw, "created_at", "created") or made_ms,
        name=fields.optional_text(raw, "name"),
        description=fields.optional_text(raw, "description"),
        model=_model(raw),
        instructions=fields.optional_text(raw, "instructions"),
        tools=fields.objects(raw, "tools"),
        tool_resources=fields.optional_obj(raw, "tool_resources"),
        metadata=fields.obj(raw, "metadata"),
        temperature=fields.number(raw, "temperature"),
        top_p=fields.number(raw, "top_p"),
        response_format=raw.get("response_format"),
        reasoning_effort=fields.text(raw, "reasoning_effort"),
        avatar=fields.text(raw, "avatar"),
        file_ids=tuple(item for item in file_ids if isinstance(item, str)) if isinstance(file_ids, list) else (),
        parameters=fields.optional_obj(raw, "parameters"),
    )


def _model(raw: JsonObject) -> str:
    """Who answers: `model`, or the first of the several that the specification and the reference of 2023 had."""
    for value in (raw.get("model"), raw.get("models")):
        first = value[0] if isinstance(value, list) and value else value
        name = first.get("model_id") or first.get("id") if isinstance(first, dict) else first
        if isinstance(name, str) and name:
            return name
    return "*"


def to_json(assistant: Assistant) -> JsonObject:
    """The file for a new assistant, in Jan's order of keys; OpenAI's fields follow when they hold something."""
    jan = {
        "avatar": assistant.avatar,
        "id": assistant.id,
        "object": "assistant",
        "created_at": assistant.created_ms,
    }
    openai: dict[str, Any] = {
        "name": assistant.name,
        "description": assistant.description,
        "model": assistant.model,
        "instructions": assistant.instructions,
        "tools": assistant.tools,
        "file_ids": list(assistant.file_ids),
        "parameters": assistant.parameters,
        "metadata": assistant.metadata or None,
        "tool_resources": assistant.tool_resources,
        "temperature": assistant.temperature,
        "top_p": assistant.top_p,
        "response_format": assistant.response_format,
        "reasoning_effort": assistant.reasoning_effort or None,
    }
    return jan | fields.without_none(openai)


def change(raw: JsonObject, before: Assistant, after: Assistant) -> JsonObject:
    """The file's JSON after a change of the assistant."""
    return fields.overlay(raw, to_json(before), to_json(after))

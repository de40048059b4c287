"""assistant.json: Jan v0.4/v0.5 as we write it, with OpenAI's fields beside, and what came before and after."""

from typing import Any

from jan.ids import AssistantId
from storage_service.store.forms import fields
from storage_service.store.records import Assistant, DownloadError, JsonObject

_TO_DOWNLOAD = "to_download"


def from_json(assistant_id: AssistantId, raw: JsonObject, made_ms: int) -> Assistant:
    """An assistant from its file. No field is required; `made_ms` stands in for a missing creation time."""
    file_ids = raw.get("file_ids")
    model, *further_models = _models(raw)
    source_url = fields.text(raw, "source_url")
    # A copy of an API's answer may say `state` too, so only with a URL it says that there is something to do.
    is_pending = bool(source_url) and raw.get("state") == _TO_DOWNLOAD
    return Assistant(
        id=assistant_id,
        created_ms=fields.time_ms(raw, "created_at", "created") or made_ms,
        name=fields.optional_text(raw, "name"),
        description=fields.optional_text(raw, "description"),
        model=model,
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
        settings=fields.optional_obj(raw, "settings"),
        further_models=tuple(further_models),
        thread_location=fields.text(raw, "thread_location"),
        source_url=source_url,
        is_pending=is_pending,
        error=_error(raw) if is_pending else None,
    )


def to_download(assistant_id: AssistantId, source_url: str, created_ms: int) -> JsonObject:
    """The file of an assistant that is still to be downloaded; what else it holds later, people put in."""
    return {
        "id": assistant_id,
        "object": "assistant",
        "created_at": created_ms,
        "source_url": source_url,
        "state": _TO_DOWNLOAD,
    }


def downloaded(waiting: JsonObject, arrived: JsonObject) -> JsonObject:
    """What becomes of a waiting assistant's file when the real one arrives: what people changed meanwhile stays."""
    return imported(arrived) | imported(waiting)


def imported(arrived: JsonObject) -> JsonObject:
    """A stranger's file as it is kept: it is here, whatever it says of its own state."""
    if arrived.get("state") != _TO_DOWNLOAD:
        return arrived
    return {key: value for key, value in arrived.items() if key not in ("state", "error")}


def failed(raw: JsonObject, error: DownloadError | None) -> JsonObject:
    """A waiting assistant's file with the reason of its last failure, or none."""
    without = {key: value for key, value in raw.items() if key != "error"}
    return without if error is None else without | {"error": {"code": error.code, "message": error.message}}


def _error(raw: JsonObject) -> DownloadError | None:
    error = fields.obj(raw, "error")
    code = fields.text(error, "code")
    return DownloadError(code, fields.text(error, "message")) if code else None


def _models(raw: JsonObject) -> list[str]:
    """Every model that the file names, once: `model`, then the several that the drafts of 2023 had. One at least."""
    listed: list[Any] = []
    for value in (raw.get("model"), raw.get("models")):
        listed += value if isinstance(value, list) else [value]
    names = [item.get("model_id") or item.get("id") if isinstance(item, dict) else item for item in listed]
    return list(dict.fromkeys(name for name in names if isinstance(name, str) and name)) or ["*"]


def to_json(assistant: Assistant) -> JsonObject:
    """The file for a new assistant, in Jan's order of keys; OpenAI's fields follow when they hold something.

    Every Jan release reads one `model`; a list of them, as the specification has it, stands beside it.
    """
    models = [assistant.model, *assistant.further_models]
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
        "settings": assistant.settings,
        "metadata": assistant.metadata or None,
        "tool_resources": assistant.tool_resources,
        "temperature": assistant.temperature,
        "top_p": assistant.top_p,
        "response_format": assistant.response_format,
        "reasoning_effort": assistant.reasoning_effort or None,
        "models": models if len(models) > 1 else None,
        "thread_location": assistant.thread_location or None,
    }
    return jan | fields.without_none(openai)


def change(raw: JsonObject, before: Assistant, after: Assistant) -> JsonObject:
    """The file's JSON after a change of the assistant."""
    changed = fields.overlay(raw, to_json(before), to_json(after))
    if "models" in raw and (before.model, before.further_models) != (after.model, after.further_models):
        # A list that the file had would go on naming what is no longer meant.
        changed["models"] = [after.model, *after.further_models]
    return changed

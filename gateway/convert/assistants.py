"""Assistants between requests, storage's records and OpenAI's objects."""

from __future__ import annotations

from typing import Any

from google.protobuf.field_mask_pb2 import FieldMask

from gateway.convert.json_fields import from_text, sent_to_text, string_map
from gateway.convert.times import seconds
from gateway.idempotency.new_ids import NewIds
from gateway.models.lookup import ANY_MODEL
from gateway.models.settings import check_settings
from gateway.schemas.assistants import AssistantFields, CreateAssistant, ModifyAssistant
from jan.ids import AssistantId
from jan.storage.v1 import assistants_pb2

# A request's field -> the record's.
_PATHS = {
    "name": "name",
    "description": "description",
    "model": "model",
    "models": "further_models",
    "instructions": "instructions",
    "tools": "tools_json",
    "tool_resources": "tool_resources_json",
    "metadata": "metadata_json",
    "temperature": "temperature",
    "top_p": "top_p",
    "response_format": "response_format_json",
    "reasoning_effort": "reasoning_effort",
    "avatar": "avatar",
    "file_ids": "file_ids",
    "parameters": "parameters_json",
    "settings": "settings_json",
    "thread_location": "thread_location",
}

# Jan's default for where an assistant's threads lie; the only place where ours do.
_THREAD_LOCATION = "ROOT/threads"
STATES = {
    assistants_pb2.ASSISTANT_STATE_UNSPECIFIED: "ready",
    assistants_pb2.ASSISTANT_STATE_TO_DOWNLOAD: "to_download",
    assistants_pb2.ASSISTANT_STATE_DOWNLOADING: "downloading",
    assistants_pb2.ASSISTANT_STATE_READY: "ready",
    assistants_pb2.ASSISTANT_STATE_RUNNING: "running",
}
# What no assistant can be without: null leaves them as they are.
_LASTING = frozenset({"model", "models"})


def new_assistant(body: CreateAssistant, ids: NewIds) -> assistants_pb2.Assistant:
    """The assistant that a request asks for, with the next of `ids`.

    Raises InvalidArgumentError: an open-ended value that is too long, or a setting that no model could have.
    """
    return _to_proto(ids.next(AssistantId), body)


def assistant_update(assistant_id: AssistantId, body: ModifyAssistant) -> assistants_pb2.UpdateAssistantRequest:
    """The change that a request asks for: the fields sent. Raises InvalidArgumentError as above."""
    sent = body.model_fields_set - (_LASTING if body.model is None else set())
    return assistants_pb2.UpdateAssistantRequest(
        assistant=_to_proto(assistant_id, body),
        update_mask=FieldMask(paths=sorted(_PATHS[field] for field in sent)),
    )


def assistant_from_proto(assistant: assistants_pb2.Assistant) -> dict[str, Any]:
    """OpenAI's `assistant`; Jan's fields follow."""
    model = assistant.model or ANY_MODEL
    failed = assistant.HasField("error")
    downloading = assistant.state == assistants_pb2.ASSISTANT_STATE_DOWNLOADING
    return {
        "id": assistant.id,
        "object": "assistant",
        "created_at": seconds(assistant.created_at),
        "name": assistant.name if assistant.HasField("name") else None,
        "description": assistant.description if assistant.HasField("description") else None,
        "model": model,
        "instructions": assistant.instructions if assistant.HasField("instructions") else None,
        "tools": from_text(assistant.tools_json, []),
        "tool_resources": from_text(assistant.tool_resources_json),
        "metadata": string_map(assistant.metadata_json),
        "temperature": assistant.temperature if assistant.HasField("temperature") else None,
        "top_p": assistant.top_p if assistant.HasField("top_p") else None,
        "response_format": from_text(assistant.response_format_json, "auto"),
        "reasoning_effort": assistant.reasoning_effort or None,
        "models": [model, *assistant.further_models],
        "avatar": assistant.avatar,
        "file_ids": list(assistant.file_ids),
        "parameters": from_text(assistant.parameters_json, {}),
        "settings": from_text(assistant.settings_json, {}),
        "thread_location": assistant.thread_location or _THREAD_LOCATION,
        "state": STATES[assistant.state],
        "source_url": assistant.source_url or None,
        "error": {"code": assistant.error.code, "message": assistant.error.message} if failed else None,
        "downloaded_bytes": assistant.downloaded_bytes if downloading else None,
    }


def _to_proto(assistant_id: AssistantId, body: AssistantFields) -> assistants_pb2.Assistant:
    tools = [tool.as_sent() for tool in body.tools or []]
    check_settings(body.settings or {}, "settings", all_must_count=True)
    further_models = dict.fromkeys(name for name in body.models or [] if name != body.model)
    return assistants_pb2.Assistant(
        id=assistant_id,
        name=body.name,
        description=body.description,
        model=body.model or "",
        instructions=body.instructions,
        tools_json=sent_to_text(tools, "tools"),
        tool_resources_json=sent_to_text(body.tool_resources and body.tool_resources.as_sent(), "tool_resources"),
        metadata_json=sent_to_text(body.metadata or {}, "metadata"),
        temperature=body.temperature,
        top_p=body.top_p,
        response_format_json=sent_to_text(
            body.response_format and body.response_format.model_dump(by_alias=True, exclude_none=True),
            "response_format",
        ),
        reasoning_effort=body.reasoning_effort or "",
        avatar=body.avatar or "",
        file_ids=body.file_ids or [],
        parameters_json=sent_to_text(body.parameters, "parameters"),
        settings_json=sent_to_text(body.settings, "settings"),
        further_models=further_models,
        thread_location=body.thread_location or "",
    )

"""Threads between requests, storage's records and OpenAI's objects."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from google.protobuf.field_mask_pb2 import FieldMask

from gateway.convert.json_fields import from_text, sent_to_text, string_map
from gateway.convert.messages import new_message
from gateway.convert.times import seconds
from gateway.idempotency.new_ids import NewIds
from gateway.models.lookup import ANY_MODEL
from gateway.models.settings import check_settings
from gateway.schemas.threads import CreateThread, ModifyThread, ThreadAssistant, ThreadFields, ThreadModel
from jan.ids import AssistantId, ThreadId
from jan.storage.v1 import threads_pb2

# Who answers where nobody is named.
DEFAULT_ASSISTANT = AssistantId("jan")

# A request's field -> the record's.
_PATHS = {
    "metadata": "metadata_json",
    "tool_resources": "tool_resources_json",
    "title": "title",
    "assistants": "assistants",
}


def new_thread(body: CreateThread | None, ids: NewIds, assistant_id: str = "") -> threads_pb2.CreateThreadRequest:
    """The thread that a request asks for, an empty one for None, for an assistant: else its own first one.

    Raises InvalidArgumentError: an open-ended value that is too long.
    """
    body = body or CreateThread()
    assistants = _with_model(body.assistants or [], body.models or [])
    thread = _to_proto(body, assistants)
    thread.id = ids.thread() or ""
    thread.models.extend(_further_models(thread, body.models or []))
    return threads_pb2.CreateThreadRequest(
        assistant_id=assistant_id or next((assistant.assistant_id for assistant in thread.assistants), ""),
        thread=thread,
        messages=[new_message(message, ids) for message in body.messages or []],
    )


def thread_update(thread_id: ThreadId, body: ModifyThread) -> threads_pb2.UpdateThreadRequest:
    """The change that a request asks for: the fields sent. Raises InvalidArgumentError as above."""
    # A thread always names who answers: Jan's desktop reads the first entry.
    thread = _to_proto(body, body.assistants or [ThreadAssistant()])
    thread.id = thread_id
    paths = sorted(_PATHS[field] for field in body.model_fields_set)
    return threads_pb2.UpdateThreadRequest(thread=thread, update_mask=FieldMask(paths=paths))


def thread_from_proto(thread: threads_pb2.Thread) -> dict[str, Any]:
    """OpenAI's `thread`; Jan's fields follow."""
    return {
        "id": thread.id,
        "object": "thread",
        "created_at": seconds(thread.created_at),
        "metadata": string_map(thread.metadata_json),
        "tool_resources": from_text(thread.tool_resources_json),
        "title": thread.title,
        "assistants": [_assistant_from_proto(assistant) for assistant in thread.assistants],
        "models": [*_models_from_proto(thread).values()],
        "updated_at": seconds(thread.updated_at),
    }


def thread_match_from_proto(match: threads_pb2.ThreadMatch) -> dict[str, Any]:
    """A thread that a search found, with the message that made it one."""
    return thread_from_proto(match.thread) | {"match": {"message_id": match.message_id, "snippet": match.snippet}}


def _with_model(assistants: list[ThreadAssistant], models: list[ThreadModel]) -> list[ThreadAssistant]:
    """The first assistant with the first of `models`, unless it names a model of its own."""
    first, *others = assistants or [ThreadAssistant()]
    if not models or first.model is not None:
        return assistants
    return [first.model_copy(update={"model": models[0]}), *others]


def _further_models(thread: threads_pb2.Thread, models: list[ThreadModel]) -> Iterator[threads_pb2.ThreadModel]:
    """What a new thread says of models other than the one that its first assistant answers with."""
    seen = {ANY_MODEL, *(assistant.model_id for assistant in thread.assistants[:1])}
    for index, model in enumerate(models):
        if model.id and model.id not in seen and (model.settings or model.parameters):
            yield threads_pb2.ThreadModel(
                id=model.id,
                settings_json=_settings_to_text(model.settings, f"models[{index}].settings"),
                parameters_json=sent_to_text(model.parameters or None, f"models[{index}].parameters"),
            )
        seen.add(model.id or "")


def _models_from_proto(thread: threads_pb2.Thread) -> dict[str, dict[str, Any]]:
    """Jan's `models`: every model that the thread says something of, the chosen one first."""
    chosen = thread.assistants[:1]
    found = {assistant.model_id: _model_from_proto(assistant, assistant.model_id) for assistant in chosen}
    found.pop("", None)
    return found | {model.id: _model_from_proto(model, model.id) for model in thread.models if model.id not in found}


def _to_proto(body: ThreadFields, assistants: Iterable[ThreadAssistant]) -> threads_pb2.Thread:
    return threads_pb2.Thread(
        title=body.title or "",
        metadata_json=sent_to_text(body.metadata or {}, "metadata"),
        tool_resources_json=sent_to_text(body.tool_resources and body.tool_resources.as_sent(), "tool_resources"),
        assistants=[
            _assistant_to_proto(assistant, f"assistants[{index}].model") for index, assistant in enumerate(assistants)
        ],
    )


def _assistant_to_proto(assistant: ThreadAssistant, param: str) -> threads_pb2.ThreadAssistant:
    model = assistant.model or ThreadModel()
    return threads_pb2.ThreadAssistant(
        assistant_id=assistant.assistant_id or DEFAULT_ASSISTANT,
        assistant_name=assistant.assistant_name or "",
        instructions=assistant.instructions or "",
        model_id="" if model.id in {None, ANY_MODEL} else model.id,
        settings_json=_settings_to_text(model.settings, f"{param}.settings"),
        parameters_json=sent_to_text(model.parameters or None, f"{param}.parameters"),
    )


def _settings_to_text(settings: dict[str, Any] | None, param: str) -> str:
    """Jan's map as it was sent. Raises InvalidArgumentError: a value of it that no engine could use."""
    check_settings(settings or {}, param)
    return sent_to_text(settings or None, param)


def _assistant_from_proto(assistant: threads_pb2.ThreadAssistant) -> dict[str, Any]:
    """One of Jan's `assistants`; a model that the thread leaves open is `*`, as in Jan's files."""
    return {
        "assistant_id": assistant.assistant_id,
        "assistant_name": assistant.assistant_name,
        "instructions": assistant.instructions,
        "model": _model_from_proto(assistant, assistant.model_id or ANY_MODEL),
    }


def _model_from_proto(said: threads_pb2.ThreadAssistant | threads_pb2.ThreadModel, model_id: str) -> dict[str, Any]:
    return {
        "id": model_id,
        "settings": from_text(said.settings_json, {}),
        "parameters": from_text(said.parameters_json, {}),
    }

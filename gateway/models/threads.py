"""What answers in a thread and with what: its assistant's, its model's and its own parameters, layer by layer.

A thread's overrides of the model that it has chosen stand in `assistants[].model`, where every Jan looks; those of
other models in `models`. An entry of `assistants` that chooses no model speaks of all of them. `parameters` go into
each request; `settings` have the model loaded anew for the thread, in turns with its other configurations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from google.protobuf.field_mask_pb2 import FieldMask

from gateway.completions.parameters import changed, known_parameters, layered, stored_parameters
from gateway.convert.json_fields import from_text, sent_to_text
from gateway.convert.threads import DEFAULT_ASSISTANT
from gateway.models.settings import usable_settings
from jan.storage.v1 import assistants_pb2, models_pb2, threads_pb2

JsonObject = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Overrides:
    """What a thread says of a model, as its file has it."""

    parameters: JsonObject
    settings: JsonObject

    def __bool__(self) -> bool:
        return bool(self.parameters or self.settings)


@dataclass(frozen=True, slots=True)
class Layer:
    """What one object sets: request parameters in OpenAI's spelling, and the load-time settings that count."""

    name: str
    parameters: JsonObject
    settings: JsonObject


def assistant_of(thread: threads_pb2.Thread) -> threads_pb2.ThreadAssistant:
    """Who answers in a thread unless a run says otherwise: the first one counts."""
    return thread.assistants[0] if thread.assistants else threads_pb2.ThreadAssistant(assistant_id=DEFAULT_ASSISTANT)


def entry_of(thread: threads_pb2.Thread, assistant_id: str) -> threads_pb2.ThreadAssistant:
    """What a thread says of an assistant; nothing when it speaks of others only."""
    matching = (assistant for assistant in thread.assistants if assistant.assistant_id == assistant_id)
    return next(matching, threads_pb2.ThreadAssistant())


def overrides_of(thread: threads_pb2.Thread, assistant_id: str, model_id: str) -> Overrides:
    """What a thread overrides when an assistant answers with a model; `models` is for the thread's own assistant."""
    entry = entry_of(thread, assistant_id)
    own = [entry] if entry.model_id in {"", model_id} else []
    is_own = assistant_id == assistant_of(thread).assistant_id
    single = [model for model in thread.models if is_own and model.id == model_id]
    # What says less stands below: an entry for all models below the one for this, and that below the chosen one.
    said: Sequence[threads_pb2.ThreadAssistant | threads_pb2.ThreadModel]
    said = [*single, *own] if entry.model_id else [*own, *single]
    return Overrides(
        parameters=_merged(*(from_text(item.parameters_json, {}) for item in said)),
        settings=_merged(*(from_text(item.settings_json, {}) for item in said)),
    )


def layers(
    thread: threads_pb2.Thread,
    assistant_id: str,
    assistant: assistants_pb2.Assistant | None,
    model: models_pb2.Model,
) -> list[Layer]:
    """What is below a run and its request, the lowest first. assistant: None when it was deleted."""
    said = overrides_of(thread, assistant_id, model.id)
    own = from_text(model.settings_json, {})
    assistants = {} if assistant is None else usable_settings(from_text(assistant.settings_json, {}), model.engine)
    return [
        Layer("model", stored_parameters(model.parameters_json), own),
        Layer("assistant", {} if assistant is None else _of_assistant(assistant), assistants),
        Layer("thread", known_parameters(said.parameters), usable_settings(said.settings, model.engine)),
    ]


def with_overrides(
    thread: threads_pb2.Thread, model_id: str, *, answers: bool, parameters: JsonObject, settings: JsonObject
) -> threads_pb2.UpdateThreadRequest:
    """The change of a thread that changes its overrides of a model; None takes a key out.

    answers: whether it is the model that answers in this thread; its overrides choose it, where they are.
    Raises InvalidArgumentError: more than a file may hold.
    """
    first, *others = thread.assistants or [assistant_of(thread)]
    before = overrides_of(thread, first.assistant_id, model_id) if answers else _single(thread, model_id)
    after = Overrides(changed(before.parameters, parameters), changed(before.settings, settings))
    written = threads_pb2.ThreadModel(
        id=model_id,
        settings_json=sent_to_text(after.settings or None, "settings"),
        parameters_json=sent_to_text(after.parameters or None, "parameters"),
    )
    models = [model for model in thread.models if model.id != model_id]
    return threads_pb2.UpdateThreadRequest(
        thread=threads_pb2.Thread(
            id=thread.id,
            assistants=[_chosen(first, written) if answers and (after or before) else first, *others],
            models=[*models, written] if after and not answers else models,
        ),
        update_mask=FieldMask(paths=["assistants", "models"]),
        if_revision=[thread.revision],
    )


def _chosen(entry: threads_pb2.ThreadAssistant, model: threads_pb2.ThreadModel) -> threads_pb2.ThreadAssistant:
    """An entry that chooses a model and says of it what the thread does."""
    chosen = threads_pb2.ThreadAssistant()
    chosen.CopyFrom(entry)
    chosen.model_id = model.id
    chosen.settings_json = model.settings_json
    chosen.parameters_json = model.parameters_json
    return chosen


def _single(thread: threads_pb2.Thread, model_id: str) -> Overrides:
    found = next((model for model in thread.models if model.id == model_id), threads_pb2.ThreadModel())
    return Overrides(from_text(found.parameters_json, {}), from_text(found.settings_json, {}))


def _of_assistant(assistant: assistants_pb2.Assistant) -> JsonObject:
    """Jan's map, and OpenAI's fields over it."""
    return layered(
        stored_parameters(assistant.parameters_json),
        {
            "temperature": assistant.temperature if assistant.HasField("temperature") else None,
            "top_p": assistant.top_p if assistant.HasField("top_p") else None,
        },
    )


def _merged(*maps: JsonObject) -> JsonObject:
    merged: JsonObject = {}
    for item in maps:
        merged |= item
    return merged

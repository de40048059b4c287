"""The schemas of answers: OpenAI's, with what this server adds to them and says otherwise, and our own."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import TypeAdapter

from gateway.openapi import anthropic_objects, model_objects, objects
from gateway.openapi.differences import DIFFERENCES

_FILE: Final = Path(__file__).with_name("openai_components.json")
PREFIX: Final = "#/components/schemas/"

# OpenAI's object -> what is in it besides.
_EXTENDED: Final[Mapping[str, type]] = {
    "ThreadObject": objects.ThreadFields,
    "MessageObject": objects.MessageFields,
    "AssistantObject": objects.AssistantFields,
    "RunObject": objects.RunFields,
    "Model": model_objects.ModelFields,
    "VectorStoreObject": objects.VectorStoreFields,
    "Response": objects.ResponseFields,
    "DeleteAssistantResponse": objects.DeletedAssistantFields,
    "DeleteModelResponse": objects.DeletedFields,
}
_OWN: Final[tuple[type, ...]] = (
    anthropic_objects.AnthropicBatch,
    anthropic_objects.AnthropicBatches,
    anthropic_objects.AnthropicDeletedBatch,
    anthropic_objects.AnthropicError,
    anthropic_objects.AnthropicEvent,
    anthropic_objects.AnthropicMessage,
    anthropic_objects.AnthropicModel,
    anthropic_objects.AnthropicModels,
    anthropic_objects.AnthropicTokens,
    objects.Deleted,
    objects.DeletedJob,
    objects.DeletedThreads,
    model_objects.Device,
    model_objects.DeviceList,
    objects.Document,
    objects.EmptiedTrash,
    objects.Error,
    objects.ErrorOfRun,
    objects.Health,
    objects.ImportProgress,
    objects.ImportReport,
    objects.Job,
    objects.MessageFile,
    model_objects.ModelFit,
    model_objects.ModelStateChange,
    model_objects.Progress,
    model_objects.Pull,
    model_objects.PullList,
    objects.Readiness,
    objects.Restore,
    objects.StorageReport,
    model_objects.Text,
    objects.ThreadExport,
    objects.ThreadModel,
    model_objects.Tokens,
    objects.TrashEntry,
)


@dataclass(frozen=True, slots=True)
class OpenAI:
    """What OpenAI documents of its answers: the schemas' names by route and media type, and the schemas."""

    version: str
    answers: Mapping[str, Mapping[str, str]]
    schemas: dict[str, Any]

    @classmethod
    def read(cls) -> OpenAI:
        """From the file beside this one, with what this server adds and says otherwise."""
        found = json.loads(_FILE.read_text("utf-8"))
        schemas: dict[str, Any] = found["schemas"]
        for difference in DIFFERENCES:
            difference.apply(schemas)
        for name, fields in _EXTENDED.items():
            _extend(schemas[name], _schema_of(fields))
        return cls(found["version"], found["answers"], schemas)


def own_schemas(lists: Iterable[str]) -> dict[str, Any]:
    """The schemas of our own objects, and of pages that hold the objects of these names."""
    found: dict[str, Any] = {}
    for one in (*_OWN, *_EXTENDED.values()):
        schema = _schema_of(one)
        found |= {f"Janroot.{name}": part for name, part in schema.pop("$defs", {}).items()}
        found[f"Janroot.{one.__name__}"] = schema
    for name in lists:
        found[page_name(name)] = _page(name)
    return dict(sorted(found.items()))


def page_name(name: str) -> str:
    """The name of a page of such objects."""
    return f"Janroot.{name.removeprefix('Janroot.')}Page"


def _page(name: str) -> dict[str, Any]:
    """OpenAI's list envelope, with what is in it."""
    cursor = {"type": ["string", "null"]}
    properties = {
        "object": {"const": "list", "type": "string"},
        "data": {"type": "array", "items": {"$ref": PREFIX + name}},
        "first_id": cursor,
        "last_id": cursor,
        "has_more": {"type": "boolean"},
    }
    return {"type": "object", "properties": properties, "required": [*properties]}


def _schema_of(fields: type) -> dict[str, Any]:
    return TypeAdapter(fields).json_schema(ref_template=PREFIX + "Janroot.{model}")


def _extend(schema: dict[str, Any], fields: Mapping[str, Any]) -> None:
    """Put our fields into OpenAI's object."""
    target = schema
    if "allOf" in schema:
        target = {"type": "object"}
        schema["allOf"].append(target)
    target["properties"] = {**target.get("properties", {}), **fields["properties"]}
    target["required"] = [*target.get("required", ()), *fields.get("required", ())]

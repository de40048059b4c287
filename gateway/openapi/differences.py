"""Where answers here differ from OpenAI's own document on purpose; docs/compatibility.md tells them.

OpenAI's document contradicts its service and its SDKs in places: what these send and accept is what counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

_NULL: Final = {"type": "null"}


@dataclass(frozen=True, slots=True)
class Difference:
    """One way in which answers are other than OpenAI writes them.

    nullable: by schema, the fields that may be null. also: by schema and field, what else the field may be.
    """

    reason: str
    nullable: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    also: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def apply(self, schemas: Mapping[str, Any]) -> None:
        """Change the schemas. Raises LookupError: OpenAI's document has no such field any more."""
        for schema, names in self.nullable.items():
            for name in names:
                _widen(schemas[schema], name, _NULL)
        for schema, fields in self.also.items():
            for name, more in fields.items():
                _widen(schemas[schema], name, more)


def _widen(schema: Mapping[str, Any], name: str, more: Mapping[str, Any]) -> None:
    """Let a field of a schema, or of a part of its `allOf`, be something more; `choices[].text` is one in a list."""
    outer, _, inner = name.partition("[].")
    if inner:
        _widen(schema["properties"][outer]["items"], inner, more)
        return
    parts = [part for part in (schema, *schema.get("allOf", ())) if name in part.get("properties", ())]
    for part in parts or [{}]:
        part["properties"][name] = {"anyOf": [part["properties"][name], more]}


_PAGES: Final = (
    "ChatCompletionList",
    "ChatCompletionMessageList",
    "ConversationItemList",
    "ListAssistantsResponse",
    "ListBatchesResponse",
    "ListFilesResponse",
    "ListMessagesResponse",
    "ListRunStepsResponse",
    "ListRunsResponse",
    "ListVectorStoreFilesResponse",
    "ListVectorStoresResponse",
    "ResponseItemList",
)

DIFFERENCES: Final = (
    Difference(
        "`first_id` and `last_id` of an empty page are null, as OpenAI's service answers and its SDKs read.",
        nullable=dict.fromkeys(_PAGES, ("first_id", "last_id")),
    ),
    Difference(
        "Fields without a value are null where OpenAI's document leaves them out; its SDKs read both alike.",
        nullable={
            "Batch": (
                *("errors", "model", "output_file_id", "error_file_id"),
                *(f"{state}_at" for state in ("in_progress", "finalizing", "completed", "failed")),
                *(f"{state}_at" for state in ("expired", "cancelling", "cancelled")),
            ),
            "OpenAIFile": ("expires_at", "status_details"),
            "VectorStoreObject": ("expires_after", "name"),
        },
    ),
    Difference(
        "The chunks of a streamed completion have no `finish_reason` before the last one, and where `usage` is asked"
        " for, it is null in all but the last.",
        nullable={"CreateCompletionResponse": ("choices[].finish_reason", "usage")},
    ),
    Difference(
        "A file may be for `evals`, as OpenAI's upload allows; its file object does not name that.",
        also={"OpenAIFile": {"purpose": {"const": "evals"}}},
    ),
    Difference(
        "An embedding is text when `encoding_format` is `base64`, which OpenAI's SDKs ask for.",
        also={"Embedding": {"embedding": {"type": "string"}}},
    ),
    Difference(
        "Messages of Jan's files keep their roles and parts: `system`, `tool`, `reasoning`, `tool_call`, files.",
        also={
            "MessageObject": {
                "role": {"enum": ["system", "tool"]},
                "content": {"type": "array", "items": {"type": "object", "required": ["type"]}},
            }
        },
    ),
    Difference(
        "Assistants of Jan's files keep tools that OpenAI does not have, and tools keep Jan's settings.",
        also={"AssistantObject": {"tools": {"type": "array", "items": {"type": "object", "required": ["type"]}}}},
    ),
    Difference(
        "A stored chat lists what it was asked with, whoever said it; the document allows the assistant alone.",
        also={
            "ChatCompletionMessageList": {
                "data": {"type": "array", "items": {"type": "object", "required": ["id", "role"]}}
            }
        },
    ),
)

"""completions/<id>.json: a chat completion that was asked for with `store`. Jan had no such file; the form is ours."""

from jan.ids import CompletionId
from storage_service.store.forms import fields
from storage_service.store.records import Completion, JsonObject


def from_json(completion_id: CompletionId, raw: JsonObject) -> Completion:
    """A completion from its file."""
    metadata = fields.obj(raw, "metadata")
    return Completion(
        id=completion_id,
        owner=fields.text(raw, "owner"),
        created_ms=fields.time_ms(raw, "created") or 0,
        stored_ms=fields.time_ms(raw, "stored") or 0,
        model=fields.text(raw, "model"),
        completion=fields.obj(raw, "completion"),
        messages=tuple(fields.objects(raw, "messages")),
        metadata={key: value for key, value in metadata.items() if isinstance(value, str)},
    )


def to_json(completion: Completion) -> JsonObject:
    """The file for a completion."""
    return {
        "id": completion.id,
        "object": "chat.completion",
        "created": completion.created_ms,
        "stored": completion.stored_ms,
        "model": completion.model,
        "owner": completion.owner,
        "metadata": completion.metadata,
        "messages": list(completion.messages),
        "completion": completion.completion,
    }

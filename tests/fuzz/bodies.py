"""Bodies that name what is there: what was made up for a request, with the ids of objects in the place of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from tests.fixtures.stack import MODEL as REAL
from tests.fuzz.objects import EMBEDS, KNOWN, Objects

Body = Any
_COUNTS: Final = ("/count_tokens", "/input_tokens", "/tokenize", "/detokenize")


def naming_what_is_there(operation: str, body: Body, objects: Objects) -> Body:
    """A body whose ids are those of objects that are there, wherever in it they stand."""
    return _named(body, _ids_for(operation, objects))


def _named(value: Any, ids: Mapping[str, Callable[[], str]], name: str = "") -> Any:
    match value:
        case dict():
            return {key: _named(one, ids, key) for key, one in value.items()}
        case list():
            return [_named(one, ids, name) for one in value]
        case str() if name in ids:
            return ids[name]()
    return value


def _ids_for(operation: str, objects: Objects) -> Mapping[str, Callable[[], str]]:
    """What names of fields stand for."""

    def of(make: Callable[[], dict[str, str]], name: str) -> Callable[[], str]:
        return lambda: objects.kept(make)[name]

    if operation.startswith("POST /v1/files") or "/models" in operation:
        return {}  # their ids are new ones, or those of their paths
    return {
        "model": lambda: _model_for(operation),
        "assistant_id": of(objects.assistant, "assistant_id"),
        "file_id": of(objects.file, "file_id"),
        "file_ids": of(objects.file, "file_id"),
        "input_file_id": of(objects.batch_file, "file_id"),
        "vector_store_ids": of(objects.vector_store, "vector_store_id"),
        "previous_response_id": of(objects.response, "response_id"),
        "conversation": of(objects.conversation, "conversation_id"),
        "part_ids": of(objects.upload_with_its_part, "part_id"),
        "tool_call_id": of(objects.run_that_calls, "call_id"),
    }


def _model_for(operation: str) -> str:
    if operation.endswith(_COUNTS):
        return REAL
    return EMBEDS if operation.endswith("/embeddings") else KNOWN

"""What may be done with what an operation has made: links from its answer to the operations whose path names it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

Paths = Mapping[str, Mapping[str, dict[str, Any]]]

_ID: Final = "$response.body#/id"
# What a path calls the object that a POST makes, and where the answer has its id.
_MADE: Final[Mapping[str, Mapping[str, str]]] = {
    "/v1/threads": {"thread_id": _ID},
    "/v1/threads/runs": {"thread_id": "$response.body#/thread_id", "run_id": _ID},
    "/v1/threads/{thread_id}/messages": {"message_id": _ID},
    "/v1/threads/{thread_id}/runs": {"run_id": _ID},
    "/v1/assistants": {"assistant_id": _ID},
    "/v1/files": {"file_id": _ID},
    "/v1/uploads": {"upload_id": _ID},
    "/v1/batches": {"batch_id": _ID},
    "/v1/vector_stores": {"vector_store_id": _ID},
    "/v1/vector_stores/{vector_store_id}/files": {"file_id": _ID},
    "/v1/vector_stores/{vector_store_id}/file_batches": {"batch_id": _ID},
    "/v1/responses": {"response_id": _ID},
    "/v1/conversations": {"conversation_id": _ID},
    "/v1/messages/batches": {"message_batch_id": _ID},
}


def add_links(paths: Paths, alias: str) -> None:
    """Tell them in the document's paths. alias: what marks a spelling that is another of one that has them."""
    for path, made in _MADE.items():
        links = dict(_links(paths, {**{name: f"$request.path.{name}" for name in _names(path)}, **made}, alias))
        paths[path]["post"]["responses"]["200"]["links"] = links


def _links(paths: Paths, parameters: Mapping[str, str], alias: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """To the operations whose paths name these and nothing else."""
    for path, operations in paths.items():
        if _names(path) == parameters.keys():
            for operation in operations.values():
                if alias not in operation:
                    id_ = operation["operationId"]
                    yield id_, {"operationId": id_, "parameters": dict(parameters)}


def _names(path: str) -> set[str]:
    return set(re.findall(r"{(\w+)}", path))

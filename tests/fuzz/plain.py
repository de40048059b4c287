"""For each operation with a body one request that is right: what nobody would make up by chance."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any, Final

from tests.fixtures.stack import MODEL as REAL
from tests.fuzz.engine import ASSISTANT, WEIGHTS
from tests.fuzz.objects import ELSEWHERE, EMBEDS, HI, KNOWN, Objects, new_numbers

Body = dict[str, Any]
MESSAGE: Final = {"type": "message", **HI}
RUN: Final = {"assistant_id": "jan", "model": KNOWN}
WHOLE: Final = {"metadata": {"a": "b"}}
_numbers = new_numbers()


@dataclass(frozen=True, slots=True)
class Plain:
    """What a right request brings, beside what its path names."""

    body: Any = None
    media_type: str = "application/json"
    query: dict[str, str] = field(default_factory=dict)

    def fields(self) -> Body:
        """For Schemathesis."""
        with_body = {} if self.body is None else {"body": self.body, "media_type": self.media_type}
        return with_body | {"query": dict(self.query)}


def plain(operation: str, objects: Objects) -> Plain:
    """A right request to an operation."""
    match operation:
        case "DELETE /v1/threads" | "DELETE /v1/trash":
            return Plain(query={"confirm": "true"})
        case "POST /v1/files":
            return Plain({"file": b"Roses are red.", "purpose": "assistants"}, "multipart/form-data")
        case "POST /v1/uploads/{upload_id}/parts":
            return Plain({"data": b"Hi"}, "multipart/form-data")
        case "POST /v1/threads/import":
            return Plain(
                objects.archive(f"/threads/{objects.kept(objects.thread)['thread_id']}/export"), "application/zip"
            )
        case "POST /v1/storage/restore":
            return Plain(objects.archive("/storage/backup"), "application/zip", {"dry_run": "true"})
    return Plain(_body(operation, objects))


def _body(operation: str, objects: Objects) -> Body | None:
    """The JSON of a right request; None for an operation that needs none."""
    if operation in _FIXED:
        return dict(_FIXED[operation])
    new = f"plain-{next(_numbers)}"
    weights = {"model": os.environ[ELSEWHERE] + WEIGHTS, "id": new}
    match operation:
        case "POST /v1/models" | "POST /v1/models/pull":
            return weights
        case "POST /v1/models/fit":
            return {"source": weights["model"]}
        case "DELETE /v1/models/pull":
            return {"taskId": objects.kept(objects.pull)["pull_id"]}
        case "POST /v1/models/import":
            return {"modelPath": objects.weights(), "model": new}
        case "POST /v1/assistants/import":
            return {"url": os.environ[ELSEWHERE] + ASSISTANT, "id": new, "download": False}
        case "POST /v1/threads/{thread_id}/runs/{run_id}/submit_tool_outputs":
            return {"tool_outputs": [{"tool_call_id": objects.kept(objects.run_that_calls)["call_id"], "output": "x"}]}
        case "POST /v1/uploads/{upload_id}/complete":
            return {"part_ids": [objects.kept(objects.upload_with_its_part)["part_id"]]}
        case "POST /v1/batches":
            file_id = objects.kept(objects.batch_file)["file_id"]
            return {"input_file_id": file_id, "endpoint": "/v1/chat/completions", "completion_window": "24h"}
        case "POST /v1/vector_stores/{vector_store_id}/files":
            return {"file_id": objects.kept(objects.file)["file_id"]}
        case "POST /v1/vector_stores/{vector_store_id}/file_batches":
            return {"file_ids": [objects.kept(objects.file)["file_id"]]}
    return None


_FIXED: Final[dict[str, Body]] = {
    "PATCH /v1/models/{model_id}": {"name": "A"},
    "POST /v1/models/start": {"model": KNOWN},
    "POST /v1/models/stop": {"model": KNOWN},
    "POST /v1/chat/completions": {"model": KNOWN, "messages": [HI]},
    "POST /v1/chat/completions/{completion_id}": WHOLE,
    "POST /v1/completions": {"model": KNOWN, "prompt": "Hi"},
    "POST /v1/embeddings": {"model": EMBEDS, "input": "Hi"},
    "POST /v1/messages": {"model": KNOWN, "max_tokens": 4, "messages": [HI]},
    "POST /v1/messages/count_tokens": {"model": REAL, "messages": [HI]},
    "POST /v1/messages/batches": {
        "requests": [{"custom_id": "a", "params": {"model": KNOWN, "max_tokens": 4, "messages": [HI]}}]
    },
    "POST /v1/tokenize": {"model": REAL, "prompt": "Hi"},
    "POST /v1/detokenize": {"model": REAL, "tokens": [1]},
    "POST /v1/responses": {"model": KNOWN, "input": "Hi"},
    "POST /v1/responses/input_tokens": {"model": REAL, "input": "Hi"},
    "POST /v1/responses/compact": {"model": KNOWN, "input": "Hi"},
    "POST /v1/conversations": {"items": [MESSAGE]},
    "POST /v1/conversations/{conversation_id}": WHOLE,
    "POST /v1/conversations/{conversation_id}/items": {"items": [MESSAGE]},
    "POST /v1/threads": {"messages": [HI]},
    "POST /v1/threads/{thread_id}": WHOLE,
    "POST /v1/threads/runs": {**RUN, "thread": {"messages": [HI]}},
    "POST /v1/threads/{thread_id}/runs": RUN,
    "POST /v1/threads/{thread_id}/runs/{run_id}": WHOLE,
    "PATCH /v1/threads/{thread_id}/runs/{run_id}": WHOLE,
    "POST /v1/threads/{thread_id}/messages": HI,
    "POST /v1/threads/{thread_id}/messages/{message_id}": WHOLE,
    "PATCH /v1/threads/{thread_id}/messages/{message_id}": WHOLE,
    "POST /v1/threads/{thread_id}/models/{model_id}": {"parameters": {"temperature": 0.5}},
    "PATCH /v1/threads/{thread_id}/models/{model_id}": {"parameters": {"temperature": 0.5}},
    "POST /v1/assistants": {"model": KNOWN},
    "POST /v1/assistants/{assistant_id}": WHOLE,
    "PATCH /v1/assistants/{assistant_id}": WHOLE,
    "POST /v1/uploads": {"filename": "a.md", "purpose": "assistants", "bytes": 2, "mime_type": "text/markdown"},
    "POST /v1/vector_stores": {"name": "A"},
    "POST /v1/vector_stores/{vector_store_id}": {"name": "B"},
    "POST /v1/vector_stores/{vector_store_id}/search": {"query": "roses"},
    "POST /v1/vector_stores/{vector_store_id}/files/{file_id}": {"attributes": {"a": 1}},
}

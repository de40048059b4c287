"""What each route answers: OpenAI's routes by OpenAI's own document, the others by the table here.

A new route that OpenAI does not document needs a line in OURS; `tests/gateway/openapi/test_document.py` says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from gateway.openapi import anthropic_objects, model_objects, objects
from gateway.openapi.reading import anonymous

JSON, EVENTS, BYTES = "application/json", "text/event-stream", "application/octet-stream"
MARKDOWN, PLAIN, ZIP, JSONL = "text/markdown", "text/plain", "application/zip", "application/x-jsonl"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a route answers when all goes well.

    json: the schema of the whole answer, by name. or_json: another one, for a client of Anthropic's. events: that of
    the JSON in each event of a stream, by name; several when there are several kinds. lists: the name of what a page
    holds, when `json` is not said. files: the media types of answers that are files. statuses: with which of them.
    """

    json: str | None = None
    or_json: str | None = None
    events: tuple[str, ...] = ()
    lists: str | None = None
    files: tuple[str, ...] = ()
    statuses: tuple[int, ...] = (200,)


def own(name: type) -> str:
    """The name of one of our own objects' schemas."""
    return f"Janroot.{name.__name__}"


_RUN_EVENTS: Final = (
    "RunObject", "RunStepObject", "RunStepDeltaObject", "MessageObject", "MessageDeltaObject", "ThreadObject",
    "Janroot.ErrorOfRun",
)  # fmt: skip
_CHUNK: Final = ("CreateChatCompletionStreamResponse",)
_FILE: Final = Answer(files=(BYTES,), statuses=(200, 206))
_MODEL: Final = Answer("Model")
_ASSISTANT: Final = Answer("AssistantObject")
_PULL: Final = Answer(own(model_objects.Pull))
_BEGUN_PULL: Final = Answer(
    own(model_objects.Pull), events=(own(model_objects.Progress), own(model_objects.Pull)), statuses=(200, 202)
)
_THREAD_MODEL: Final = Answer(own(objects.ThreadModel))
_RUN: Final = Answer("RunObject", events=_RUN_EVENTS)

OURS: Final[Mapping[str, Answer]] = {
    "GET /": Answer(statuses=(302,)),
    "GET /docs": Answer(files=("text/html",)),
    "GET /docs/{}": Answer(files=("text/css", "text/javascript")),
    "GET /openapi.json": Answer("Janroot.Document", statuses=(200, 304)),
    "GET /healthz": Answer(own(objects.Health)),
    "GET /readyz": Answer(own(objects.Readiness)),
    "GET /metrics": Answer(files=(PLAIN,)),
    "GET /v1/models": Answer("ListModelsResponse", own(anthropic_objects.AnthropicModels)),
    "GET /v1/models/{}": Answer("Model", own(anthropic_objects.AnthropicModel)),
    "POST /v1/models": _BEGUN_PULL,
    "POST /v1/models/pull": _BEGUN_PULL,
    "POST /v1/models/{}/pull": _BEGUN_PULL,
    "GET /v1/models/pull": Answer(own(model_objects.PullList)),
    "GET /v1/models/pull/{}": _PULL,
    "GET /v1/models/pull/{}/events": Answer(events=_BEGUN_PULL.events),
    "DELETE /v1/models/pull": _PULL,
    "DELETE /v1/models/pull/{}": _PULL,
    "GET /v1/models/download/{}": _MODEL,
    "POST /v1/models/import": Answer("Model", events=("Model", own(model_objects.Progress))),
    "GET /v1/models/events": Answer(events=(own(model_objects.ModelStateChange),)),
    "PATCH /v1/models/{}": _MODEL,
    "POST /v1/models/start": _MODEL,
    "POST /v1/models/stop": _MODEL,
    "POST /v1/models/{}/start": _MODEL,
    "PUT /v1/models/{}/start": _MODEL,
    "POST /v1/models/{}/stop": _MODEL,
    "PUT /v1/models/{}/stop": _MODEL,
    "POST /v1/models/fit": Answer(own(model_objects.ModelFit)),
    "POST /v1/models/{}/fit": Answer(own(model_objects.ModelFit)),
    "GET /v1/devices": Answer(own(model_objects.DeviceList)),
    "POST /v1/chat/completions": Answer("CreateChatCompletionResponse", events=_CHUNK),
    "GET /v1/chat/completions/{}": Answer("CreateChatCompletionResponse", events=_CHUNK),
    "POST /v1/completions": Answer("CreateCompletionResponse", events=("CreateCompletionResponse",)),
    "POST /v1/messages": Answer(
        own(anthropic_objects.AnthropicMessage),
        events=(own(anthropic_objects.AnthropicEvent), own(anthropic_objects.AnthropicError)),
    ),
    "POST /v1/messages/count_tokens": Answer(own(anthropic_objects.AnthropicTokens)),
    "POST /v1/messages/batches": Answer(own(anthropic_objects.AnthropicBatch)),
    "GET /v1/messages/batches": Answer(own(anthropic_objects.AnthropicBatches)),
    "GET /v1/messages/batches/{}": Answer(own(anthropic_objects.AnthropicBatch)),
    "GET /v1/messages/batches/{}/results": Answer(files=(JSONL,)),
    "POST /v1/messages/batches/{}/cancel": Answer(own(anthropic_objects.AnthropicBatch)),
    "DELETE /v1/messages/batches/{}": Answer(own(anthropic_objects.AnthropicDeletedBatch)),
    "POST /v1/tokenize": Answer(own(model_objects.Tokens)),
    "POST /v1/detokenize": Answer(own(model_objects.Text)),
    "GET /v1/queue": Answer(lists=own(objects.Job)),
    "DELETE /v1/queue/{}": Answer(own(objects.DeletedJob)),
    "GET /v1/queue/dead": Answer(lists=own(objects.Job)),
    "POST /v1/queue/dead/{}/requeue": Answer(own(objects.Job)),
    "GET /v1/responses/{}": Answer("Response", events=("ResponseStreamEvent",)),
    "DELETE /v1/responses/{}": Answer(own(objects.Deleted)),
    "POST /v1/threads/runs": _RUN,
    "POST /v1/threads/{}/runs": _RUN,
    "GET /v1/threads/{}/runs/{}": _RUN,
    "PATCH /v1/threads/{}/runs/{}": Answer("RunObject"),
    "POST /v1/threads/{}/runs/{}/submit_tool_outputs": _RUN,
    "POST /v1/threads/import": Answer(
        own(objects.ImportReport), events=(own(objects.ImportProgress), own(objects.ImportReport))
    ),
    "GET /v1/threads": Answer(lists="ThreadObject"),
    "PATCH /v1/threads/{}": Answer("ThreadObject"),
    "DELETE /v1/threads": Answer(own(objects.DeletedThreads)),
    "POST /v1/threads/{}/clear": Answer("ThreadObject"),
    "POST /v1/threads/{}/clone": Answer("ThreadObject"),
    "GET /v1/threads/{}/export": Answer(own(objects.ThreadExport), files=(ZIP, MARKDOWN)),
    "GET /v1/threads/{}/models": Answer(lists=own(objects.ThreadModel)),
    "GET /v1/threads/{}/models/{}": _THREAD_MODEL,
    "POST /v1/threads/{}/models/{}": _THREAD_MODEL,
    "PATCH /v1/threads/{}/models/{}": _THREAD_MODEL,
    "PATCH /v1/threads/{}/messages/{}": Answer("MessageObject"),
    "GET /v1/threads/{}/messages/{}/files": Answer(lists=own(objects.MessageFile)),
    "GET /v1/threads/{}/messages/{}/files/{}": Answer(own(objects.MessageFile)),
    "GET /v1/threads/{}/messages/{}/files/{}/content": Answer(
        files=(BYTES, "application/pdf", "image/png"), statuses=(200, 206)
    ),
    "POST /v1/assistants/import": _ASSISTANT,
    "POST /v1/assistants/{}/download": _ASSISTANT,
    "DELETE /v1/assistants/{}/download": _ASSISTANT,
    "PATCH /v1/assistants/{}": _ASSISTANT,
    "DELETE /v1/assistant/{}": Answer("DeleteAssistantResponse"),
    "GET /v1/files/{}/content": _FILE,
    "GET /v1/trash": Answer(lists=own(objects.TrashEntry)),
    "POST /v1/trash/{}/restore": Answer(own(objects.TrashEntry)),
    "DELETE /v1/trash/{}": Answer(own(objects.Deleted)),
    "DELETE /v1/trash": Answer(own(objects.EmptiedTrash)),
    "GET /v1/storage/report": Answer(own(objects.StorageReport)),
    "GET /v1/storage/export": Answer(files=(ZIP,)),
    "GET /v1/storage/backup": Answer(files=(ZIP,)),
    "POST /v1/storage/restore": Answer(own(objects.Restore)),
}
"""By the route's name without the names of its path's parameters; goes over what OpenAI documents."""


def answer_of(route: str, openai: Mapping[str, Mapping[str, str]]) -> Answer | None:
    """What a route answers, by its anonymous name; None when neither OpenAI nor the table here says it."""
    if route in OURS:
        return OURS[route]
    theirs = {anonymous(name): by_type for name, by_type in openai.items()}.get(route.replace(" /v1/", " /", 1))
    if theirs is None:
        return None
    return Answer(theirs.get(JSON), events=tuple(name for name in [theirs.get(EVENTS)] if name))

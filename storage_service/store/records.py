"""What the store keeps, as values. Field names are OpenAI's; times are whole milliseconds since 1970, UTC.

`revision` tells one state of an object's own file or line from another; see `revisions`. It is made by the store.

Values of open schema (metadata, tools, content parts ...) are JSON as parsed: treat them as read-only.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from jan.ids import (
    AssistantId,
    CompletionId,
    FileId,
    MessageFileId,
    MessageId,
    ModelId,
    RunId,
    StepId,
    ThreadId,
    TrashId,
)

JsonObject = dict[str, Any]


class Role(StrEnum):
    """Who speaks. OpenAI's threads know the first two; Jan's files hold all four."""

    USER = "user"
    ASSISTANT = "assistant"
    SYSTEM = "system"
    TOOL = "tool"


class MessageStatus(StrEnum):
    """A message's life cycle, OpenAI's words."""

    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    INCOMPLETE = "incomplete"


class RunStatus(StrEnum):
    """A run's life cycle, OpenAI's words."""

    QUEUED = "queued"
    IN_PROGRESS = "in_progress"
    REQUIRES_ACTION = "requires_action"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"
    FAILED = "failed"
    COMPLETED = "completed"
    INCOMPLETE = "incomplete"
    EXPIRED = "expired"

    @property
    def is_active(self) -> bool:
        """Whether the run still holds its thread."""
        return self in _ACTIVE


_ACTIVE = frozenset({RunStatus.QUEUED, RunStatus.IN_PROGRESS, RunStatus.REQUIRES_ACTION, RunStatus.CANCELLING})


class StepType(StrEnum):
    """What a run step did."""

    MESSAGE_CREATION = "message_creation"
    TOOL_CALLS = "tool_calls"


class StepStatus(StrEnum):
    """A run step's life cycle, OpenAI's words."""

    IN_PROGRESS = "in_progress"
    CANCELLED = "cancelled"
    FAILED = "failed"
    COMPLETED = "completed"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class ThreadAssistant:
    """An assistant as one thread uses it; an empty field falls through to the assistant itself."""

    assistant_id: AssistantId
    assistant_name: str = ""
    instructions: str = ""
    model_id: str = ""
    settings: JsonObject = field(default_factory=dict)
    parameters: JsonObject = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ThreadModel:
    """What one thread overrides of a model, whether it is the one that answers now or not."""

    id: str
    settings: JsonObject = field(default_factory=dict)
    parameters: JsonObject = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Thread:
    """A conversation: `threads/<id>/thread.json`. `updated_ms` covers its messages too."""

    id: ThreadId
    created_ms: int
    updated_ms: int
    title: str = ""
    assistants: tuple[ThreadAssistant, ...] = ()
    metadata: JsonObject = field(default_factory=dict)
    tool_resources: JsonObject | None = None
    models: tuple[ThreadModel, ...] = ()
    revision: str = ""


@dataclass(frozen=True, slots=True)
class Message:
    """One line of `messages.jsonl`."""

    id: MessageId
    thread_id: ThreadId
    role: Role
    content: list[JsonObject]
    created_ms: int = 0
    status: MessageStatus = MessageStatus.COMPLETED
    completed_ms: int | None = None
    incomplete_ms: int | None = None
    incomplete_reason: str = ""
    assistant_id: str = ""
    run_id: str = ""
    attachments: list[JsonObject] = field(default_factory=list)
    metadata: JsonObject = field(default_factory=dict)
    revision: str = ""


@dataclass(frozen=True, slots=True)
class Appended:
    """Messages that we appended, and the digests of their file before and after (see `signature`)."""

    before: int
    after: int
    messages: tuple[Message, ...]


@dataclass(frozen=True, slots=True)
class DownloadError:
    """Why a download failed: a code for programs, a sentence for people."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Assistant:
    """Who answers in a thread: `assistants/<id>/assistant.json`. `avatar` to `thread_location` are Jan's own.

    `model` answers; `further_models` are those that the assistant names after it. `is_pending`: it is still to be
    downloaded from `source_url`; `error`: why that failed the last time.
    """

    id: AssistantId
    created_ms: int = 0
    name: str | None = None
    description: str | None = None
    model: str = "*"
    instructions: str | None = None
    tools: list[JsonObject] = field(default_factory=list)
    tool_resources: JsonObject | None = None
    metadata: JsonObject = field(default_factory=dict)
    temperature: float | None = None
    top_p: float | None = None
    response_format: Any = None
    reasoning_effort: str = ""
    avatar: str = ""
    file_ids: tuple[str, ...] = ()
    parameters: JsonObject | None = None
    settings: JsonObject | None = None
    further_models: tuple[str, ...] = ()
    thread_location: str = ""
    source_url: str = ""
    is_pending: bool = False
    error: DownloadError | None = None
    revision: str = ""


@dataclass(frozen=True, slots=True)
class ModelSource:
    """Where one file of a model comes from."""

    filename: str
    url: str


@dataclass(frozen=True, slots=True)
class BaseModel:
    """The model that a LoRA adapter belongs to; the fields are those of `Model`."""

    id: ModelId
    engine: str
    files: tuple[str, ...]
    folder: str


@dataclass(frozen=True, slots=True)
class Model:
    """A model that can be asked: `models/<id>/model.json`, or one of Jan's other forms.

    `folder` is where its weights lie, relative to the janroot; `files` are relative to that. `size_bytes`: None for a
    remote one, and when a file is missing. `revision`: the state of its description; empty in lists.
    """

    id: ModelId
    created_ms: int
    owned_by: str
    name: str
    description: str
    version: str
    engine: str
    format: str
    settings: JsonObject
    parameters: JsonObject
    metadata: JsonObject
    files: tuple[str, ...]
    source_url: str
    folder: str
    size_bytes: int | None = None
    revision: str = field(default="", compare=False)
    sources: tuple[ModelSource, ...] = ()
    missing: tuple[str, ...] = ()
    """Files that `sources` names and that are not here; a model with any is still to be downloaded."""
    base: BaseModel | None = None
    """For a LoRA adapter, what its setting `base_model` names; None when there is no such model."""
    sees: bool = False
    """Whether it takes images, as its files tell; a remote one, as its setting `vision_model` does."""


@dataclass(frozen=True, slots=True)
class File:
    """An upload: `files/<id>`, told of by `files/<id>.json`. `filename` is the client's name for it, never a path."""

    id: FileId
    filename: str
    purpose: str
    size_bytes: int
    created_ms: int
    expires_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Completion:
    """A stored chat completion: `completions/<id>.json`.

    owner: a digest of the key that asked, empty for everybody's. created_ms is the answer's own time, stored_ms when it
    was kept. completion: OpenAI's object and what it was asked with, without metadata. messages: what was sent.
    """

    id: CompletionId
    owner: str
    created_ms: int
    model: str
    completion: JsonObject
    messages: tuple[JsonObject, ...]
    metadata: dict[str, str]
    stored_ms: int = 0

    def is_for(self, owner: str) -> bool:
        """Whether somebody may see it."""
        return self.owner in ("", owner)


@dataclass(frozen=True, slots=True)
class MessageFile:
    """A file as one message has it: an upload that is attached, or a file in the thread's own folder."""

    id: MessageFileId
    message_id: MessageId
    created_ms: int
    filename: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class TrashItem:
    """A thread or an assistant in the trash, with its title or name."""

    id: str
    title: str


@dataclass(frozen=True, slots=True)
class TrashEntry:
    """One deletion that can be undone. `items` are the first hundred of `count`."""

    id: TrashId
    kind: str
    deleted_ms: int
    expires_ms: int
    count: int
    items: tuple[TrashItem, ...]


@dataclass(frozen=True, slots=True)
class Usage:
    """What one answer cost, in tokens."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0
    reasoning_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a run or a step failed, in OpenAI's terms. param: the field at fault, as chats call it; "" for none."""

    code: str
    message: str
    param: str = ""


@dataclass(frozen=True, slots=True)
class Run:
    """What a user asked a thread to answer: a record of `runs.jsonl`. `revision` counts its writes.

    `round` counts how often the model was asked: each submission of tool outputs begins one. `usage` is that of the
    rounds that are over.
    """

    id: RunId
    thread_id: ThreadId
    assistant_id: AssistantId
    status: RunStatus
    created_ms: int
    revision: int = 0
    expires_ms: int | None = None
    started_ms: int | None = None
    cancelled_ms: int | None = None
    failed_ms: int | None = None
    completed_ms: int | None = None
    last_error: Failure | None = None
    incomplete_reason: str = ""
    model: str = ""
    instructions: str = ""
    tools: list[JsonObject] = field(default_factory=list)
    metadata: JsonObject = field(default_factory=dict)
    usage: Usage | None = None
    max_prompt_tokens: int | None = None
    max_completion_tokens: int | None = None
    truncation_strategy: JsonObject | None = None
    tool_choice: Any = None
    response_format: Any = None
    parallel_tool_calls: bool = True
    temperature: float | None = None
    top_p: float | None = None
    reasoning_effort: str = ""
    tenant: str = ""
    priority: str = ""
    round: int = 1
    required_action: JsonObject | None = None
    response: JsonObject | None = None


@dataclass(frozen=True, slots=True)
class RunStep:
    """One thing a run did: a record of `runs.jsonl`."""

    id: StepId
    run_id: RunId
    thread_id: ThreadId
    assistant_id: AssistantId
    type: StepType
    status: StepStatus
    created_ms: int
    completed_ms: int | None = None
    failed_ms: int | None = None
    cancelled_ms: int | None = None
    expired_ms: int | None = None
    last_error: Failure | None = None
    step_details: JsonObject = field(default_factory=dict)
    usage: Usage | None = None
    metadata: JsonObject = field(default_factory=dict)

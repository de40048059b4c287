"""The objects that are Jan's or this server's own, as they are answered; OpenAI's are in openai_components.json.

A docstring is what the document says of the object. Sizes are in bytes, times in seconds since 1970.
"""

from __future__ import annotations

from typing import Any, Literal, NotRequired

from typing_extensions import TypedDict

from gateway.openapi.model_objects import Failure

JsonObject = dict[str, Any]


class Health(TypedDict):
    """The process lives."""

    status: Literal["ok"]


class Readiness(TypedDict):
    """Whether all that stands behind the gateway answers; `missing` names what does not."""

    status: Literal["ready", "not ready"]
    missing: list[str]


# `class` and `from`, below, are no names for fields in Python.
_JobClass = TypedDict("_JobClass", {"class": str})


class Job(_JobClass):
    """A request for an engine that waits or runs; `tenant` for admins, `failures` of dead letters."""

    id: str
    object: Literal["queue.job"]
    kind: str
    model: str
    state: str
    enqueued_at: int
    started_at: int | None
    position: NotRequired[int | None]
    eta_seconds: NotRequired[int | None]
    progress: NotRequired[float | None]
    activity: NotRequired[str | None]
    tenant: NotRequired[str]
    failures: NotRequired[int]
    run_id: NotRequired[str]
    thread_id: NotRequired[str]


class DeletedJob(TypedDict):
    """A job that was cancelled."""

    id: str
    object: Literal["queue.job.deleted"]
    deleted: Literal[True]
    state: str


class ModelOfThread(TypedDict):
    """A model that a thread names, with what it overrides."""

    id: str
    settings: JsonObject
    parameters: JsonObject


class AssistantOfThread(TypedDict):
    """Who answers in a thread."""

    assistant_id: str
    assistant_name: str
    instructions: str
    model: ModelOfThread


class ThreadMatch(TypedDict):
    """The message that a search found."""

    message_id: str
    snippet: str


class ThreadFields(TypedDict):
    """Jan's fields of a thread. `match` is there when threads were searched."""

    title: str
    assistants: list[AssistantOfThread]
    models: list[ModelOfThread]
    updated_at: int
    match: NotRequired[ThreadMatch]


class DeletedThreads(TypedDict):
    """All threads, moved into the trash."""

    object: Literal["thread.list.deleted"]
    deleted: Literal[True]
    count: int
    trash_id: str | None


class ThreadModelValues(TypedDict):
    """Values by parameter and by setting."""

    parameters: JsonObject
    settings: JsonObject


class ThreadModelLayers(TypedDict):
    """Which layer gave each value."""

    parameters: dict[str, str]
    settings: dict[str, str]


class ThreadModel(TypedDict):
    """One model in a thread: what is in force, and where it comes from."""

    id: str
    object: Literal["thread.model"]
    thread_id: str
    answers: bool
    available: bool
    parameters: JsonObject
    settings: JsonObject
    layers: ThreadModelLayers
    overrides: ThreadModelValues
    not_applied: list[str]


class MessageFields(TypedDict):
    """Jan's field of a message."""

    file_ids: list[str]


class RunFields(TypedDict):
    """How hard the model was told to think."""

    reasoning_effort: str | None


class MessageFile(TypedDict):
    """A file that a message brought along."""

    id: str
    object: Literal["thread.message.file"]
    created_at: int
    message_id: str
    filename: str
    bytes: int


class AssistantFields(TypedDict):
    """Jan's fields of an assistant."""

    reasoning_effort: str | None
    models: list[str]
    avatar: str
    file_ids: list[str]
    parameters: JsonObject
    settings: JsonObject
    thread_location: str
    state: Literal["to_download", "downloading", "ready", "running"]
    source_url: str | None
    error: Failure | None
    downloaded_bytes: int | None


class DeletedAssistantFields(TypedDict):
    """What Jan's specification answers besides."""

    state: Literal["to_download"]


class DeletedFields(TypedDict):
    """What undoes a deletion."""

    trash_id: NotRequired[str | None]


class ResponseFields(TypedDict):
    """The thread that a response stands in; null when nothing of it is kept."""

    thread_id: str | None


_ImportOrigin = TypedDict("_ImportOrigin", {"from": NotRequired[str]})


class EmbeddingProgress(TypedDict):
    """What a store's chunks are embedded with, and how far that is; `chunks` is null until they are counted."""

    model: str
    dimensions: int
    chunks: int | None
    embedded_chunks: int


class VectorStoreFields(TypedDict):
    """How far a store is with being searched by meaning; null when there is no model for it."""

    description: str | None
    embedding: EmbeddingProgress | None


class ImportItem(_ImportOrigin):
    """One thing of an import: what is known of it."""

    kind: NotRequired[str]
    id: NotRequired[str]
    path: NotRequired[str]
    key: NotRequired[str]
    code: NotRequired[str]
    reason: NotRequired[str]


class ImportReport(TypedDict):
    """What an import did, or would do."""

    object: Literal["import.report"]
    dry_run: bool
    kind: str
    counts: dict[str, int]
    kept: list[ImportItem]
    remapped: list[ImportItem]
    already_here: list[ImportItem]
    quarantined: list[ImportItem]
    refused: list[ImportItem]
    redacted: list[ImportItem]
    notes: list[ImportItem]
    has_more: list[str]
    quarantine: str | None


class ImportProgress(TypedDict):
    """How far an import is."""

    object: Literal["import.progress"]
    stage: str
    done: int
    total: int


class FindingCounts(TypedDict):
    """How many findings there are of each severity."""

    error: int
    warning: int
    info: int


class Finding(TypedDict):
    """Something unusual in the janroot, and what to do about it."""

    object: Literal["storage.finding"]
    path: str
    kind: str
    severity: Literal["error", "warning", "info"]
    meaning: str
    action: str
    detail: str


class StorageReport(TypedDict):
    """What is unusual in the janroot."""

    object: Literal["storage.report"]
    needs_hand: bool
    counts: FindingCounts
    findings: list[Finding]
    has_more: bool


class Restore(TypedDict):
    """What a backup held that was put in the janroot's place, or would be."""

    object: Literal["janroot.restore"]
    dry_run: bool
    created_at: int
    threads: int
    files: int
    bytes: int
    weights: bool
    trash_id: str | None


class TrashItem(TypedDict):
    """One thing that was deleted."""

    id: str
    title: str


class TrashEntry(TypedDict):
    """A deletion that can be undone."""

    id: str
    object: Literal["trash.entry", "trash.entry.restored"]
    kind: str
    deleted_at: int
    expires_at: int
    count: int
    items: list[TrashItem]
    restored: NotRequired[Literal[True]]


class Deleted(TypedDict):
    """Something that was removed for good."""

    id: str
    object: str
    deleted: Literal[True]


class EmptiedTrash(TypedDict):
    """Everything that was deleted, removed for good."""

    object: Literal["trash.list.deleted"]
    deleted: Literal[True]
    count: int


class ThreadExport(TypedDict):
    """A thread with all its messages: OpenAI's `thread` and `thread.message`s."""

    thread: JsonObject
    messages: list[JsonObject]


class ErrorOfRun(TypedDict):
    """What an `error` event of a run's stream says: the error without the object around it."""

    message: str
    type: str
    param: str | None
    code: str | None


class Error(TypedDict):
    """What every refusal and failure answers."""

    error: ErrorOfRun


class Document(TypedDict):
    """This document."""

    openapi: str
    info: JsonObject
    paths: dict[str, JsonObject]
    components: JsonObject

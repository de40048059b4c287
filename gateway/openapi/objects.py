"""The objects that are Jan's or this server's own, as they are answered; OpenAI's are in openai_components.json.

A docstring is what the document says of the object. Sizes are in bytes, times in seconds since 1970.
"""

from __future__ import annotations

from typing import Any, Literal, NotRequired

from typing_extensions import TypedDict

JsonObject = dict[str, Any]
ModelState = Literal["to_download", "downloading", "ready", "starting", "running", "stopping", "error"]


class Failure(TypedDict):
    """Why something was given up."""

    code: str
    message: str


class Health(TypedDict):
    """The process lives."""

    status: Literal["ok"]


class Readiness(TypedDict):
    """Whether all that stands behind the gateway answers; `missing` names what does not."""

    status: Literal["ready", "not ready"]
    missing: list[str]


class DeviceShare(TypedDict):
    """What a model holds of a device, or would."""

    id: str
    size_bytes: int


class Placement(TypedDict):
    """Where one copy of a model is, or would be."""

    devices: list[DeviceShare]
    tensor_parallel: int
    pipeline_layers: list[int]
    why: str


class ModelLife(TypedDict):
    """What a model does now."""

    state: ModelState
    progress: float | None
    activity: str | None
    warnings: list[str]
    error: Failure | None
    placements: list[Placement]


class ModelFields(ModelLife):
    """Jan's fields of a model. `pull` is there while it is being downloaded, `left_out` after an import."""

    name: str
    description: str
    version: str
    engine: str
    format: str
    settings: JsonObject
    parameters: JsonObject
    metadata: JsonObject
    size_bytes: int | None
    sees: bool
    ctx_len: int | None
    pull: NotRequired[str]
    left_out: NotRequired[list[str]]


class ModelStateChange(ModelLife):
    """A change of a model, in `GET /v1/models/events`."""

    id: str
    object: Literal["model.state"]


class FitNeeds(TypedDict):
    """The memory that a model needs; the overhead on each device."""

    weights: int
    kv_cache: int
    overhead: int
    total: int


class ModelFit(TypedDict):
    """Whether a model fits: at all, and beside what is loaded now."""

    id: str
    object: Literal["model.fit"]
    fits: bool
    fits_now: bool
    needs: FitNeeds
    placement: Placement | None
    why: str
    ctx_len: int | None
    n_parallel: int | None
    measured: bool
    host: str


class ProgressFile(TypedDict):
    """How far one file is."""

    name: str
    bytes: int
    total_bytes: int | None


class Progress(TypedDict):
    """How far a download or an import of a model is; null where nobody has told."""

    id: str
    state: Literal["queued", "downloading", "checking", "completed", "error", "cancelled", "importing"]
    files: list[ProgressFile]
    bytes: int
    total_bytes: int | None
    bytes_per_second: int
    eta_seconds: int | None


class Pull(Progress):
    """A download of a model."""

    object: Literal["model.pull"]
    created: int
    model: str
    source: str
    error: Failure | None


class PullList(TypedDict):
    """The downloads under way, and those that ended lately."""

    object: Literal["list"]
    data: list[Pull]


class Device(TypedDict):
    """A device of an engine host, with what models hold of it."""

    id: str
    object: Literal["device"]
    host: str
    kind: Literal["gpu", "cpu", "unknown"]
    name: str
    memory_bytes: int
    free_bytes: int
    reserved_bytes: int
    models: list[DeviceShare]


class TokenPiece(TypedDict):
    """A token with its text, or its bytes where it is a part of a character."""

    id: int
    piece: str | list[int]


class Tokens(TypedDict):
    """The tokens of a text; vLLM's answer and llama.cpp's in one."""

    count: int
    max_model_len: int | None
    tokens: list[int] | list[TokenPiece]
    token_strs: list[str | list[int]] | None


class Text(TypedDict):
    """The text of tokens, under vLLM's name and llama.cpp's."""

    prompt: str
    content: str


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


class DeviceList(TypedDict):
    """The devices of every engine host that answers."""

    object: Literal["list"]
    data: list[Device]


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

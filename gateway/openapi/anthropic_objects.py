"""The objects of Anthropic's Messages API, as they are answered."""

from __future__ import annotations

from typing import Any, Literal, NotRequired

from typing_extensions import TypedDict


class AnthropicUsage(TypedDict):
    """What a message cost, in tokens; those of the prompt that the engine remembered are not among `input_tokens`."""

    input_tokens: int
    cache_creation_input_tokens: int
    cache_read_input_tokens: int
    output_tokens: int
    service_tier: NotRequired[Literal["standard", "batch"]]


class AnthropicBlock(TypedDict):
    """A part of a message; its other fields depend on its type."""

    type: Literal["text", "thinking", "tool_use"]


class AnthropicRefusal(TypedDict):
    """What is known of a refusal: no more than that it is one."""

    type: Literal["refusal"]
    category: None
    explanation: None


class AnthropicMessage(TypedDict):
    """What a model answered."""

    id: str
    type: Literal["message"]
    role: Literal["assistant"]
    model: str
    content: list[AnthropicBlock]
    stop_reason: (
        Literal["end_turn", "max_tokens", "stop_sequence", "tool_use", "refusal", "model_context_window_exceeded"]
        | None
    )
    stop_sequence: str | None
    stop_details: AnthropicRefusal | None
    container: None
    usage: AnthropicUsage


class AnthropicEvent(TypedDict):
    """An event of a streamed message; which of the other fields there are depends on its type."""

    type: Literal[
        "message_start",
        "content_block_start",
        "ping",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    message: NotRequired[AnthropicMessage]
    index: NotRequired[int]
    content_block: NotRequired[AnthropicBlock]
    delta: NotRequired[dict[str, Any]]
    usage: NotRequired[AnthropicUsage]


class AnthropicTokens(TypedDict):
    """How many tokens a model would read."""

    input_tokens: int


class AnthropicCounts(TypedDict):
    """What became of a batch's requests; all are `processing` until it has ended."""

    processing: int
    succeeded: int
    errored: int
    canceled: int
    expired: int


class AnthropicBatch(TypedDict):
    """A batch of messages. `results_url` is a path on this server where a proxy does not tell how it is reached."""

    id: str
    type: Literal["message_batch"]
    processing_status: Literal["in_progress", "canceling", "ended"]
    request_counts: AnthropicCounts
    created_at: str
    expires_at: str
    cancel_initiated_at: str | None
    ended_at: str | None
    archived_at: None
    results_url: str | None


class AnthropicBatches(TypedDict):
    """A page of them, the newest first."""

    data: list[AnthropicBatch]
    first_id: str | None
    last_id: str | None
    has_more: bool


class AnthropicDeletedBatch(TypedDict):
    """A batch that is gone."""

    id: str
    type: Literal["message_batch_deleted"]


class AnthropicModel(TypedDict):
    """A model, for a client that sends `anthropic-version`."""

    type: Literal["model"]
    id: str
    display_name: str
    created_at: str
    lifecycle: Literal["active"]
    deprecated_at: None
    retires_at: None
    line: None
    capabilities: None
    max_input_tokens: int | None
    max_tokens: int | None


class AnthropicModels(TypedDict):
    """A page of them, the newest first."""

    data: list[AnthropicModel]
    first_id: str | None
    last_id: str | None
    has_more: bool


class AnthropicDetails(TypedDict):
    """What clients act upon."""

    error_code: Literal["thread_unsupported_request"]
    unsupported: list[str]


class AnthropicFailure(TypedDict):
    """What failed."""

    type: str
    message: str
    details: NotRequired[AnthropicDetails]


class AnthropicError(TypedDict):
    """The body of every answer of Anthropic's routes that is none, and the data of an `error` event."""

    type: Literal["error"]
    error: AnthropicFailure
    request_id: str | None

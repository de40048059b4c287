"""A batch as it is kept, and its life cycle as a table (OpenAI's Batch API; Anthropic's has the same life)."""

from dataclasses import dataclass, field
from enum import StrEnum

from jan.ids import BatchId
from storage_service.store.records import JsonObject


class BatchStatus(StrEnum):
    """How far a batch has come."""

    VALIDATING = "validating"
    FAILED = "failed"
    IN_PROGRESS = "in_progress"
    FINALIZING = "finalizing"
    COMPLETED = "completed"
    EXPIRED = "expired"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"


# What answers the requests of Anthropic's batches.
MESSAGES = "/v1/messages"
ENDS = frozenset({BatchStatus.FAILED, BatchStatus.COMPLETED, BatchStatus.EXPIRED, BatchStatus.CANCELLED})
NEXT: dict[BatchStatus, frozenset[BatchStatus]] = {
    BatchStatus.VALIDATING: frozenset(
        {BatchStatus.IN_PROGRESS, BatchStatus.FAILED, BatchStatus.CANCELLING, BatchStatus.EXPIRED}
    ),
    # Failed when its input goes away under it.
    BatchStatus.IN_PROGRESS: frozenset(
        {BatchStatus.FINALIZING, BatchStatus.CANCELLING, BatchStatus.EXPIRED, BatchStatus.FAILED}
    ),
    BatchStatus.FINALIZING: frozenset({BatchStatus.COMPLETED}),
    BatchStatus.CANCELLING: frozenset({BatchStatus.CANCELLED}),
} | dict.fromkeys(ENDS, frozenset[BatchStatus]())


@dataclass(frozen=True, slots=True)
class Tokens:
    """What answers cost; the prompt's tokens include the cached ones."""

    prompt: int = 0
    cached: int = 0
    completion: int = 0
    reasoning: int = 0

    def plus(self, other: "Tokens") -> "Tokens":
        """Both together."""
        return Tokens(
            self.prompt + other.prompt,
            self.cached + other.cached,
            self.completion + other.completion,
            self.reasoning + other.reasoning,
        )


@dataclass(frozen=True, slots=True)
class Counts:
    """How many requests were answered, how many have ended otherwise, and what it cost.

    skipped: how many of those never had their turn.
    """

    completed: int = 0
    failed: int = 0
    tokens: Tokens = field(default_factory=Tokens)
    skipped: int = 0


@dataclass(frozen=True, slots=True)
class Batch:
    """One batch. `steps`: when it came to each status after the first; times in milliseconds, lives in seconds."""

    id: BatchId
    endpoint: str
    input_file_id: str
    tenant: str
    metadata: JsonObject
    lifetime_seconds: int
    output_expires_after_seconds: int = 0
    status: BatchStatus = BatchStatus.VALIDATING
    created_ms: int = 0
    errors: tuple[JsonObject, ...] = ()
    model: str = ""
    total: int = 0
    counts: Counts = field(default_factory=Counts)
    output_file_id: str = ""
    error_file_id: str = ""
    steps: tuple[tuple[BatchStatus, int], ...] = ()

    @property
    def is_over(self) -> bool:
        """Whether it has come to an end."""
        return self.status in ENDS

    @property
    def is_of_messages(self) -> bool:
        """Whether it is one of Anthropic's."""
        return self.endpoint == MESSAGES


@dataclass(frozen=True, slots=True)
class Result:
    """What became of the request in one line of the input, from 1; `value` is the line of the file it belongs into."""

    line: int
    answered: bool
    value: JsonObject
    tokens: Tokens = field(default_factory=Tokens)
    skipped: bool = False

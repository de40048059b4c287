"""What is kept of vector stores, as values; see `store.records` for times and open values."""

from dataclasses import dataclass, field
from enum import StrEnum

from jan.ids import FileBatchId, FileId, VectorStoreId
from storage_service.store.records import JsonObject

DEFAULT_CHUNK_TOKENS = 800
DEFAULT_OVERLAP_TOKENS = 400
DAY_MS = 86_400_000


class FileStatus(StrEnum):
    """How far a file of a vector store is, OpenAI's words."""

    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Chunking:
    """How a text is cut: at most so many tokens a chunk, of which so many are the end of the one before."""

    max_tokens: int = DEFAULT_CHUNK_TOKENS
    overlap_tokens: int = DEFAULT_OVERLAP_TOKENS


@dataclass(frozen=True, slots=True)
class Embedder:
    """The model that chunks are embedded with; its revision changes with whatever changes the vectors."""

    model: str
    revision: str


@dataclass(frozen=True, slots=True)
class VectorStore:
    """`vector_stores/<id>/vector_store.json`. last_active_ms: when it was last added to or searched, to a minute.

    embedder, dimensions: which model its vectors are of and how long each is; None and 0 before the first.
    """

    id: VectorStoreId
    created_ms: int
    last_active_ms: int
    name: str | None = None
    description: str | None = None
    expires_after_days: int | None = None
    metadata: JsonObject = field(default_factory=dict)
    embedder: Embedder | None = None
    dimensions: int = 0

    @property
    def expires_ms(self) -> int | None:
        """When it expires, if nobody uses it before."""
        return None if self.expires_after_days is None else self.last_active_ms + self.expires_after_days * DAY_MS


@dataclass(frozen=True, slots=True)
class StoreFile:
    """A file of a vector store, `files/<file id>.json` in its folder; `files/<file id>.txt` is the text once completed.

    filename: the upload's at the time. usage_bytes: the length of the text. error_code: OpenAI's word for why it
    failed, empty for one that did not.
    """

    id: FileId
    filename: str
    created_ms: int
    status: FileStatus = FileStatus.IN_PROGRESS
    chunking: Chunking = Chunking()
    attributes: JsonObject = field(default_factory=dict)
    batch_id: FileBatchId | None = None
    usage_bytes: int = 0
    error_code: str = ""
    error_message: str = ""


@dataclass(frozen=True, slots=True)
class NewFile:
    """A file that is to be added."""

    id: FileId
    chunking: Chunking = Chunking()
    attributes: JsonObject = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FileBatch:
    """Files that were added together, `batches/<id>.json`."""

    id: FileBatchId
    created_ms: int
    is_cancelled: bool = False


@dataclass(frozen=True, slots=True)
class FileCounts:
    """How many files are how far, and how long their texts are."""

    in_progress: int = 0
    completed: int = 0
    failed: int = 0
    cancelled: int = 0
    usage_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Found:
    """A chunk that matches. score: 0 to 1; see `index` and `fusion`. by_meaning: whether vectors had a say in it."""

    file: StoreFile
    text: str
    score: float
    by_meaning: bool = False

"""The only builder of paths inside the janroot. Refuses unsafe ids and folders that lead outside.

Ids are typed and were checked when they were parsed; they are checked again here, because this is the last
place before the file system and because storage trusts no caller.
"""

import os
from collections.abc import Iterable
from pathlib import Path

from jan.errors import InvalidArgumentError
from jan.ids import AssistantId, BatchId, CompletionId, FileId, Id, ModelId, PullId, ThreadId, UploadId, VectorStoreId
from storage_service.store import atomic

THREAD_FILE = "thread.json"
MESSAGES_FILE = "messages.jsonl"
RUNS_FILE = "runs.jsonl"
# The files of a thread that are written to while it lives.
LIVE_FILES = (THREAD_FILE, MESSAGES_FILE, RUNS_FILE)
# A thread's own images and documents.
FILES_FOLDER = "files"
ASSISTANT_FILE = "assistant.json"
MODEL_FILE = "model.json"
PULL_FILE = "pull.json"
VECTOR_STORE_FILE = "vector_store.json"


class Layout:
    """Where everything lies under one janroot."""

    def __init__(self, root: Path) -> None:
        self.root = Path(os.path.realpath(root))
        self.threads = self.root / "threads"
        self.assistants = self.root / "assistants"
        self.models = self.root / "models"
        self.files = self.root / "files"
        self.completions = self.root / "completions"
        self.batches = self.root / "batches"
        self.vector_stores = self.root / "vector_stores"
        self.server = self.root / ".server"
        self.lock = self.server / "lock"
        self.quarantine = self.server / "quarantine"
        self.trash = self.server / "trash"
        self.staging = self.server / "staging"
        self.restoring = self.server / "restoring"
        self.pulls = self.server / "pulls"
        self.uploads = self.server / "uploads"
        self.index = self.server / "index"
        self.message_indexes = self.index / "messages"
        self.chunk_indexes = self.index / "vector_stores"
        self.converted = self.server / "converted"
        self._server_folders = (
            *(self.quarantine, self.trash, self.staging, self.converted, self.message_indexes),
            self.pulls,
            self.uploads,
            self.chunk_indexes,
        )
        self._collections = (self.threads, self.assistants, self.models, self.files, self.vector_stores)
        self.nested: dict[str, Path] = {}
        """Threads that lie deeper below `threads/`; see `places`."""
        self.sorted_into: set[Path] = set()
        """Folders that such threads were seen in: people keep copies there, and only one of a name is served."""

    def make_server_folders(self) -> None:
        """Make the folders that are ours alone, the lock's home among them."""
        for folder in self._server_folders:
            atomic.make_dir(folder)

    def clear_staging(self) -> None:
        """Drop what a crash left half made; nobody was told of it. Only under the lock."""
        for left_over in self.staging.iterdir():
            atomic.remove(left_over)

    def make_collections(self) -> None:
        """Make the folders that users look into."""
        for folder in self._collections:
            atomic.make_dir(folder)

    def make_missing(self) -> None:
        """Make what somebody removed while we run. Only under the lock."""
        for folder in (*self._server_folders, *self._collections):
            if not os.path.lexists(folder):
                atomic.make_dir(folder)

    def thread(self, thread_id: ThreadId) -> Path:
        """A thread's folder, there or not. Raises InvalidArgumentError: an unsafe id or a way out of the janroot."""
        folder = self._inside(self.threads, ThreadId.parse(thread_id))
        nested = self.nested.get(thread_id)
        if nested is None or os.path.lexists(folder):
            return folder
        return self._without_links(self.threads, nested.relative_to(self.threads).parts, thread_id)

    def flat_thread(self, thread_id: ThreadId) -> Path:
        """A thread's file in the draft of 2023, which had no folders; see `thread`."""
        return Path(f"{self._inside(self.threads, ThreadId.parse(thread_id))}.json")

    def assistant(self, assistant_id: AssistantId) -> Path:
        """An assistant's folder; see `thread`."""
        return self._inside(self.assistants, AssistantId.parse(assistant_id))

    def model(self, model_id: ModelId) -> Path:
        """A model's folder, up to three levels below `models/`; see `thread`."""
        return self._inside(self.models, ModelId.parse(model_id))

    def file(self, file_id: FileId) -> Path:
        """An uploaded file's bytes; see `thread`."""
        return self._inside(self.files, FileId.parse(file_id))

    def completion(self, completion_id: CompletionId) -> Path:
        """A stored chat completion's file; see `thread`."""
        return Path(f"{self._inside(self.completions, CompletionId.parse(completion_id))}.json")

    def batch(self, batch_id: BatchId) -> Path:
        """A batch's file; see `thread`."""
        return Path(f"{self._inside(self.batches, BatchId.parse(batch_id))}.json")

    def batch_results(self, batch_id: BatchId) -> Path:
        """The results of a batch that has not come to its end; see `thread`."""
        return Path(f"{self._inside(self.batches, BatchId.parse(batch_id))}.results.jsonl")

    def vector_store(self, store_id: VectorStoreId) -> Path:
        """A vector store's folder; see `thread`."""
        return self._inside(self.vector_stores, VectorStoreId.parse(store_id))

    def chunk_index(self, store_id: VectorStoreId) -> Path:
        """Where the index of a vector store is kept."""
        return self.chunk_indexes / f"{VectorStoreId.parse(store_id)}.sqlite"

    def pull(self, pull_id: PullId) -> Path:
        """Where the download of a model grows."""
        return self.pulls / PullId.parse(pull_id)

    def upload(self, upload_id: UploadId) -> Path:
        """Where the parts of a file are gathered."""
        return self.uploads / UploadId.parse(upload_id)

    def messages_index(self, thread_id: ThreadId) -> Path:
        """Where the index of a thread's messages.jsonl is kept, if it is a long file."""
        return self.message_indexes / ThreadId.parse(thread_id)

    def _inside(self, collection: Path, item_id: Id) -> Path:
        """`collection/id`, when no symlink on the way leads elsewhere. Files in it are opened with O_NOFOLLOW."""
        return self._without_links(collection, item_id.split("/"), item_id)

    def _without_links(self, collection: Path, parts: Iterable[str], item_id: Id) -> Path:
        path = str(collection)
        linked = os.path.islink(path)
        for part in parts:
            path = f"{path}/{part}"
            linked = linked or os.path.islink(path)
        if linked:
            raise InvalidArgumentError(f"The {item_id.kind} folder '{item_id}' is a link and is not followed.")
        return Path(path)

"""Typed identifiers: a type for each kind, refused at the first touch when unsafe.

Ids come from strangers (paths, bodies, queries) and end as folder names and Redis keys, so one strict pattern serves
all: letters, digits, `_`, `-` and inner dots. Everything Jan ever wrote fits (`jan_1704504633`, ULIDs, UUIDs,
`undefined_1712…`); `../`, NUL, separators, device names and long strings do not.
"""

from __future__ import annotations

import re
import secrets
from typing import ClassVar, Self

from jan.errors import InvalidArgumentError

_SEGMENT = re.compile(r"[A-Za-z0-9_-](?:[A-Za-z0-9_.-]*[A-Za-z0-9_-])?", re.ASCII)
_DEVICE_NAME = re.compile(r"(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\..*)?", re.ASCII | re.IGNORECASE)


def _is_safe_segment(text: str) -> bool:
    """Tell whether text can be one folder name on every platform Jan runs on."""
    return bool(_SEGMENT.fullmatch(text)) and ".." not in text and not _DEVICE_NAME.fullmatch(text)


class Id(str):
    """An identifier that was checked. Subclasses differ in name and prefix only."""

    __slots__ = ()

    kind: ClassVar[str] = "object"
    prefix: ClassVar[str] = ""
    max_length: ClassVar[int] = 128

    @classmethod
    def parse(cls, text: str) -> Self:
        """Check an id of unknown origin.

        Raises InvalidArgumentError: the text cannot be an id of this kind; the message does not repeat it whole.
        """
        if not cls._is_valid(text):
            raise InvalidArgumentError(f"Invalid {cls.kind} id {_shortened(text)}.", code="invalid_id")
        return cls(text)

    @classmethod
    def new(cls) -> Self:
        """Make an id that nobody else has: the kind's prefix and 96 random bits."""
        return cls(f"{cls.prefix}{secrets.token_hex(12)}")

    @classmethod
    def _is_valid(cls, text: str) -> bool:
        return len(text) <= cls.max_length and _is_safe_segment(text)


class ThreadId(Id):
    """A thread's folder name; made by storage, which alone knows which names are taken.

    `thread_…` is one that the gateway makes, for a request that may be sent again.
    """

    __slots__ = ()
    kind = "thread"
    prefix = "thread_"


class MessageId(Id):
    """A message, unique in its thread."""

    __slots__ = ()
    kind = "message"
    prefix = "msg_"


class AssistantId(Id):
    """An assistant's folder name."""

    __slots__ = ()
    kind = "assistant"
    prefix = "asst_"


class RunId(Id):
    """A run: what a user asked a thread to answer."""

    __slots__ = ()
    kind = "run"
    prefix = "run_"


class ResponseId(Id):
    """A stored response: `resp_<hex>_<thread>` stands for the run `run_<hex>` of that thread (decision 0037)."""

    __slots__ = ()
    kind = "response"
    prefix = "resp_"
    max_length = 160

    @classmethod
    def of(cls, run_id: str, thread_id: str) -> Self:
        """The response that a run is; one without a thread is stored nowhere."""
        return cls("_".join([cls.prefix + run_id.removeprefix(RunId.prefix), *filter(None, [thread_id])]))

    @property
    def run_id(self) -> RunId:
        """The run that it is."""
        return RunId(RunId.prefix + self.removeprefix(self.prefix).partition("_")[0])

    @property
    def thread_id(self) -> ThreadId:
        """The thread that holds its turn. Raises InvalidArgumentError: it is one that nobody stored."""
        return ThreadId.parse(self.removeprefix(self.prefix).partition("_")[2])

    @classmethod
    def _is_valid(cls, text: str) -> bool:
        return text.startswith(cls.prefix) and super()._is_valid(text)


class ConversationId(Id):
    """A conversation: `conv_<thread>` is that thread, whoever made it (decision 0037)."""

    __slots__ = ()
    kind = "conversation"
    prefix = "conv_"
    max_length = 133

    @classmethod
    def of(cls, thread_id: str) -> Self:
        """The conversation that a thread is."""
        return cls(cls.prefix + thread_id)

    @property
    def thread_id(self) -> ThreadId:
        """The thread that it is. Raises InvalidArgumentError: no thread can be called so."""
        return ThreadId.parse(self.removeprefix(self.prefix))

    @classmethod
    def _is_valid(cls, text: str) -> bool:
        return text.startswith(cls.prefix) and super()._is_valid(text)


class StepId(Id):
    """One step of a run."""

    __slots__ = ()
    kind = "run step"
    prefix = "step_"


class FileId(Id):
    """An uploaded file's name in `files/`; without dots, since `files/<id>.json` says what the file is."""

    __slots__ = ()
    kind = "file"
    prefix = "file-"

    @classmethod
    def _is_valid(cls, text: str) -> bool:
        return "." not in text and super()._is_valid(text)


class MessageFileId(Id):
    """A file as a message has it: an upload's id, or a file's name in the thread's own folder."""

    __slots__ = ()
    kind = "message file"


class VectorStoreId(Id):
    """A vector store's folder name."""

    __slots__ = ()
    kind = "vector store"
    prefix = "vs_"


class FileBatchId(Id):
    """Files that were added to a vector store together."""

    __slots__ = ()
    kind = "vector store file batch"
    prefix = "vsfb_"


class BatchId(Id):
    """A batch's name in `batches/`; without dots, since `batches/<id>.json` and `<id>.results.jsonl` are its files."""

    __slots__ = ()
    kind = "batch"
    prefix = "batch_"

    @classmethod
    def _is_valid(cls, text: str) -> bool:
        return "." not in text and super()._is_valid(text)


class MessageBatchId(BatchId):
    """One of Anthropic's, in the same folder."""

    __slots__ = ()
    kind = "message batch"
    prefix = "msgbatch_"


class UploadId(Id):
    """A file that comes in parts."""

    __slots__ = ()
    kind = "upload"
    prefix = "upload_"


class UploadPartId(Id):
    """One part of an upload; without dots, since `upload.json` lies beside it."""

    __slots__ = ()
    kind = "upload part"
    prefix = "part_"

    @classmethod
    def _is_valid(cls, text: str) -> bool:
        return "." not in text and super()._is_valid(text)


class TrashId(Id):
    """One deletion that can be undone; made by storage."""

    __slots__ = ()
    kind = "trash entry"


class PullId(Id):
    """The download of a model."""

    __slots__ = ()
    kind = "pull"
    prefix = "pull_"


class CompletionId(Id):
    """A chat completion."""

    __slots__ = ()
    kind = "chat completion"
    prefix = "chatcmpl-"


class TextCompletionId(Id):
    """A legacy completion."""

    __slots__ = ()
    kind = "completion"
    prefix = "cmpl-"


class JobId(Id):
    """One entry of the queue: a completion's id, or `<run id>.<step number>`."""

    __slots__ = ()
    kind = "job"


class RequestId(Id):
    """One HTTP request, for logs and support."""

    __slots__ = ()
    kind = "request"
    prefix = "req_"


class ModelId(Id):
    """A model's folder below `models/`; up to three nested folders, as in `vendor/name`."""

    __slots__ = ()
    kind = "model"
    max_length = 200

    @classmethod
    def _is_valid(cls, text: str) -> bool:
        segments = text.split("/")
        return len(text) <= cls.max_length and len(segments) <= 3 and all(map(_is_safe_segment, segments))


def _shortened(text: str, limit: int = 64) -> str:
    """Quote text for a message: printable ASCII only, cut at limit."""
    cut = text if len(text) <= limit else text[:limit] + "…"
    return repr(cut.encode("ascii", "backslashreplace").decode("ascii"))

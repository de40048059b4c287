"""What every product's export becomes: a conversation as a thread of ours, its files, and what is not shown of it.

Ids are made of the source's, so that the same export twice gives the same ids and is recognised.
"""

import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum

from jan.errors import InvalidArgumentError
from jan.ids import MessageFileId, MessageId, ThreadId
from storage_service.store.records import JsonObject, Message

ORIGINAL_FILE = MessageFileId("original.json")


class Product(StrEnum):
    """Whose export it is."""

    CHATGPT = "chatgpt"
    CLAUDE = "claude"


class Loss(StrEnum):
    """What a thread of ours does not show of a conversation; the value is the report's code for it."""

    OTHER_BRANCHES = "other_branches"
    HIDDEN = "hidden_messages"
    BROKEN_TREE = "broken_tree"
    MISSING_FILE = "missing_file"
    UNKNOWN_CONTENT = "unknown_content"
    SHORTENED = "shortened"
    MENDED = "mended_text"

    @property
    def text(self) -> str:
        """The same in words, for what there are so many of."""
        return _WORDS[self]


_WORDS = {
    Loss.OTHER_BRANCHES: "replies lie on branches other than the chosen one",
    Loss.HIDDEN: "messages were hidden: custom instructions, memories, what the model was told",
    Loss.BROKEN_TREE: "links between messages lead nowhere or in a circle",
    Loss.MISSING_FILE: "files are named that the export does not hold",
    Loss.UNKNOWN_CONTENT: "contents are of a kind that is not known here",
    Loss.SHORTENED: "texts were shortened: results of tools, or more than a message may hold",
    Loss.MENDED: "characters were replaced that no text can hold",
}


@dataclass(frozen=True, slots=True)
class Note:
    """So many of one kind of loss."""

    loss: Loss
    count: int


@dataclass(frozen=True, slots=True)
class ThreadFile:
    """A file to be put into the thread's `files/` under `name`: an entry of the archive, or else the data itself."""

    name: MessageFileId
    entry: str = ""
    data: bytes = b""


@dataclass(frozen=True, slots=True)
class Conversation:
    """A conversation of an export, as the thread that it can become.

    Messages are in order, their times never decrease. Their content is as Jan's files have it: an image is Jan's part
    with a path into `threads/<id>/files/`, so that desktop Jan shows it; the store reads it as OpenAI's. Where
    something is lost (`notes`) the export's own JSON is among the files, as `ORIGINAL_FILE`.
    """

    id: ThreadId
    product: Product
    title: str
    created_ms: int
    updated_ms: int
    messages: tuple[Message, ...]
    metadata: JsonObject
    files: tuple[ThreadFile, ...] = ()
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A part of an export that is no conversation; `data` is None where it is larger than what is read."""

    reason: str
    data: bytes | None


def thread_id_for(product: Product, source_id: str, original: bytes) -> ThreadId:
    """The thread's id: the product and the source's id, or one derived from it, or from all where there is none."""
    try:
        return ThreadId.parse(f"{product}_{source_id or digest(original)}")
    except InvalidArgumentError:
        return ThreadId(f"{product}_{digest(source_id.encode())}")


def message_id_for(thread_id: ThreadId, source_id: str, taken: Collection[str]) -> MessageId:
    """The message's id: the source's, or one derived from it where it cannot be one or is taken."""
    try:
        message_id = MessageId.parse(source_id)
    except InvalidArgumentError:
        message_id = MessageId(f"msg_{digest(f'{thread_id}/{source_id}'.encode())}")
    if message_id in taken:
        message_id = MessageId(f"msg_{digest(f'{thread_id}/{source_id}/{len(taken)}'.encode())}")
    return message_id


def digest(data: bytes) -> str:
    """A short name for data, the same every time."""
    return hashlib.sha256(data).hexdigest()[:24]

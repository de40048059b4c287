"""What the tests of exports have in common: reading one, and looking at what became of it."""

from __future__ import annotations

from typing import Any

import orjson

from jan.ids import ThreadId
from storage_service.store.forms import content, messages
from storage_service.store.imports.archive_files import ArchiveFiles
from storage_service.store.imports.conversations import Conversation, Unreadable
from storage_service.store.imports.draft import Source
from storage_service.store.imports.exports import read
from storage_service.store.records import Message

MADE_MS = 1_700_000_000_000


def converted(*conversations: Any, names: tuple[str, ...] = ()) -> list[Conversation | Unreadable]:
    """What becomes of an export's conversations."""
    return list(read([orjson.dumps(conversations)], Source(ArchiveFiles(names), MADE_MS)))


def only(conversation: Any, names: tuple[str, ...] = ()) -> Conversation:
    """What becomes of one conversation."""
    [found] = converted(conversation, names=names)
    assert isinstance(found, Conversation), found
    return found


def lines(conversation: Conversation) -> list[tuple[str, list[str]]]:
    """Who says what: the texts of each message; a part that is none as its type."""
    return [(str(message.role), [_shown(part) for part in message.content]) for message in conversation.messages]


def losses(conversation: Conversation) -> dict[str, int]:
    """What is not shown, by code."""
    return {str(note.loss): note.count for note in conversation.notes}


def as_read(message: Message) -> Message:
    """A message as the store reads it from the line that it becomes."""
    line = orjson.loads(orjson.dumps(messages.to_json(message)))
    return messages.from_json(ThreadId(message.thread_id), message.id, line, message.created_ms)


def parts_as_read(message: Message) -> list[str]:
    """The types of the parts that the API answers."""
    return [part["type"] for part in content.parts(messages.to_json(message))]


def _shown(part: Any) -> str:
    return str(part["text"]["value"]) if part["type"] == "text" else f"<{part['type']}>"

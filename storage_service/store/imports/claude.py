"""Claude's conversations.json: messages of typed blocks, in a list that may hold several branches.

Anthropic does not publish the format. Exports of 2024 to 2026 have been described by those who read theirs.
"""

from datetime import UTC, datetime
from typing import Any

import orjson

from storage_service.store.forms import fields
from storage_service.store.imports.conversations import Conversation, Loss, Product
from storage_service.store.imports.draft import Draft, Original, Said, Source
from storage_service.store.imports.text import cut, fenced, one_line
from storage_service.store.imports.tree import latest_leaf, path_to
from storage_service.store.records import JsonObject, Role

# The parent of a message that has none.
_NO_PARENT = "00000000-0000-4000-8000-000000000000"
_ROLES = {"human": Role.USER, "user": Role.USER, "assistant": Role.ASSISTANT, "system": Role.SYSTEM}
# Blocks that say nothing to a person.
_SILENT = frozenset({"token_budget", "flag", "redacted_thinking"})
_MAX_TOOL_TEXT = 20_000
_MAX_WORD = 200
# A pasted text up to this length is part of what was said; a longer one becomes a file.
_MAX_PASTED = 256 * 1024


def convert(raw: JsonObject, original: Original, source: Source) -> Conversation:
    """A conversation from its JSON, whatever that holds."""
    draft = Draft(Product.CLAUDE, fields.text(raw, "uuid"), original, source)
    messages = _by_id(raw, draft)
    path = _path(raw, messages, draft)
    draft.lose(Loss.OTHER_BRANCHES, len(messages) - len(path))
    for message_id in path:
        _add(draft, message_id, messages[message_id])
    model = fields.text(raw, "model")
    return draft.finish(
        fields.text(raw, "name"),
        _time_ms(raw, "created_at"),
        _time_ms(raw, "updated_at"),
        ({"is_starred": True} if raw.get("is_starred") is True else {})
        | ({"model_slug": model[:_MAX_WORD]} if model else {}),
    )


def _by_id(raw: JsonObject, draft: Draft) -> dict[str, JsonObject]:
    """The messages in the order of the file; those without an id of their own are given one."""
    listed = raw.get("chat_messages")
    found: dict[str, JsonObject] = {}
    for index, message in enumerate(listed if isinstance(listed, list) else []):
        if isinstance(message, dict):
            message_id = fields.text(message, "uuid")
            found[f"{message_id}#{index}" if not message_id or message_id in found else message_id] = message
        else:
            draft.lose(Loss.UNKNOWN_CONTENT)
    return found


def _path(raw: JsonObject, messages: dict[str, JsonObject], draft: Draft) -> list[str]:
    """The messages that were shown. One that names no parent follows the one in front of it, as in older exports."""
    parents: dict[str, object] = {}
    previous: str | None = None
    for message_id, message in messages.items():
        parent = message.get("parent_message_uuid")
        parents[message_id] = previous if parent is None else None if parent == _NO_PARENT else parent
        previous = message_id
    current = raw.get("current_leaf_message_uuid")
    times = {message_id: _time_ms(message, "created_at") or 0 for message_id, message in messages.items()}
    leaf = current if isinstance(current, str) and current in parents else latest_leaf(parents, times)
    path, is_whole = path_to(leaf, parents) if leaf is not None else ([], True)
    draft.lose(Loss.BROKEN_TREE, 0 if is_whole else 1)
    return path


def _add(draft: Draft, message_id: str, message: JsonObject) -> None:
    said = Said()
    _attachments(draft, said, message)
    before = len(said.content)
    for block in fields.objects(message, "content"):
        _block(draft, said, block)
    if len(said.content) == before:
        draft.text(said, fields.text(message, "text"))
    times = [time for key in ("created_at", "updated_at") if (time := _time_ms(message, key))]
    role = _ROLES.get(fields.text(message, "sender"), Role.USER)
    draft.add(said, role, message_id, created_ms=min(times, default=None), completed_ms=max(times, default=None))


def _attachments(draft: Draft, said: Said, message: JsonObject) -> None:
    """What came with a message. A document is named twice where the export has its text; that is what it has of it."""
    read = set()
    for item in fields.objects(message, "attachments"):
        _attachment(draft, said, item)
        read.add(fields.text(item, "file_name"))
    for item in fields.objects(message, "files"):
        name = fields.text(item, "file_name")
        if name not in read or not name:
            draft.file(said, fields.text(item, "file_uuid") or name, name, fields.text(item, "file_type"))


def _attachment(draft: Draft, said: Said, item: JsonObject) -> None:
    """A document whose text the export has in place of the document, or a text that was pasted."""
    name = one_line(fields.text(item, "file_name"), _MAX_WORD)
    text = fields.text(item, "extracted_content")
    if not text:
        draft.file(said, fields.text(item, "id") or name, name, fields.text(item, "file_type"))
    elif len(text) > _MAX_PASTED:
        draft.document(said, name, text)
    else:
        draft.text(said, "\n\n".join(filter(None, (name, fenced(text)))))


def _block(draft: Draft, said: Said, block: JsonObject) -> None:
    kind = fields.text(block, "type")
    if kind == "text":
        draft.text(said, fields.text(block, "text"))
        _cite(said, block)
    elif kind == "thinking":
        draft.reasoning(said, fields.text(block, "thinking"))
    elif kind == "tool_use":
        _tool_use(draft, said, block)
    elif kind == "tool_result":
        _tool_result(draft, said, block)
    elif kind not in _SILENT:
        text = fields.text(block, "text")
        draft.text(said, text)
        draft.lose(Loss.UNKNOWN_CONTENT, 0 if text.strip() else 1)


def _tool_use(draft: Draft, said: Said, block: JsonObject) -> None:
    """What a tool was asked; code and documents (Claude's artifacts) are shown whole."""
    asked = fields.obj(block, "input")
    name = one_line(fields.text(block, "name"), _MAX_WORD)
    work = next((text for key in ("content", "code", "file_text") if (text := fields.text(asked, key))), "")
    title = one_line(fields.text(asked, "title") or fields.text(asked, "path"), _MAX_WORD)
    if not work and asked:
        work, title = orjson.dumps(asked, option=orjson.OPT_INDENT_2).decode(), ""
        draft.lose(Loss.SHORTENED, int(len(work) > _MAX_TOOL_TEXT))
        work = cut(work, _MAX_TOOL_TEXT)
    heading = ": ".join(filter(None, (name, title)))
    draft.text(said, "\n\n".join(filter(None, (heading, fenced(work, fields.text(asked, "language")) if work else ""))))


def _tool_result(draft: Draft, said: Said, block: JsonObject) -> None:
    content = block.get("content")
    items: list[Any] = content if isinstance(content, list) else [content]
    texts = [fields.text(item, "text") if isinstance(item, dict) else item for item in items]
    text = "\n\n".join(item for item in texts if isinstance(item, str) and item.strip())
    draft.lose(Loss.UNKNOWN_CONTENT, sum(isinstance(item, dict) and "text" not in item for item in items))
    draft.lose(Loss.SHORTENED, int(len(text) > _MAX_TOOL_TEXT))
    if text:
        draft.text(said, fenced(cut(text, _MAX_TOOL_TEXT)))


def _cite(said: Said, block: JsonObject) -> None:
    for citation in fields.objects(block, "citations"):
        details = fields.obj(citation, "details")
        said.cite(fields.text(details, "url") or fields.text(citation, "url"), fields.text(citation, "title"))


def _time_ms(raw: JsonObject, key: str) -> int | None:
    """An ISO 8601 time, or a number as elsewhere; None for what is no time."""
    try:
        time = datetime.fromisoformat(fields.text(raw, key))
        time = (time if time.tzinfo else time.replace(tzinfo=UTC)).astimezone(UTC)
        return fields.time_ms({key: time.timestamp()}, key)
    except (ValueError, OverflowError):
        return fields.time_ms(raw, key)

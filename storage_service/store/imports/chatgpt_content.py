"""What one message of ChatGPT's export says: its dozen kinds of content."""

import re
from collections.abc import Callable, Iterator
from typing import Any

from storage_service.store.forms import fields
from storage_service.store.imports.archive_files import id_in
from storage_service.store.imports.conversations import Loss
from storage_service.store.imports.draft import Draft, Said
from storage_service.store.imports.text import cut, fenced, one_line, quoted
from storage_service.store.records import JsonObject

# What tools answer was not shown by ChatGPT, and can be a whole website.
_MAX_TOOL_TEXT = 20_000
_MAX_WORD = 200
_MAX_URL = 2048
# Past these, marks are only taken out: what is shown in place of one is a hundred times as long.
_MAX_MARKS = 1000
# Custom instructions and memories: about the person, not of the conversation.
_CONTEXT = frozenset({"user_editable_context", "model_editable_context"})
# Where a text cites: `\ue200cite\ue202turn0search0\ue201`. ChatGPT draws something else in its place.
_MARK = re.compile("\ue200[^\ue200\ue201]*+\ue201")


def role_of(message: JsonObject) -> str:
    """Who speaks; empty when it is not said."""
    return fields.text(fields.obj(message, "author"), "role")


def is_hidden(message: JsonObject) -> bool:
    """Whether ChatGPT did not show the message."""
    metadata, role = fields.obj(message, "metadata"), role_of(message)
    return (
        not message
        or metadata.get("is_visually_hidden_from_conversation") is True
        or fields.text(fields.obj(message, "content"), "content_type") in _CONTEXT
        or metadata.get("is_user_system_message") is True
        or (message.get("weight") == 0 and role in ("system", "tool"))
    )


def says_something(message: JsonObject) -> bool:
    """Whether there is anything in a message at all."""
    metadata, content = fields.obj(message, "metadata"), fields.obj(message, "content")
    held = [value for key, value in content.items() if key not in ("content_type", "language", "response_format_name")]
    return any(map(_holds, held)) or bool(metadata.get("attachments")) or "user_context_message_data" in metadata


def is_reply(message: JsonObject) -> bool:
    """Whether a message is one that a person wrote or was answered."""
    return role_of(message) in ("user", "assistant") and not is_hidden(message) and says_something(message)


def add(draft: Draft, said: Said, message: JsonObject) -> None:
    """Add what a message says to the message of ours that it becomes a part of."""
    content = fields.obj(message, "content")
    kind = fields.text(content, "content_type")
    before = len(said.content)
    _KINDS.get(kind, _parts)(draft, said, content, message)
    if kind not in _KINDS and len(said.content) == before and says_something({"content": content}):
        draft.lose(Loss.UNKNOWN_CONTENT)
    _attachments(draft, said, content, message)
    _facts(said, message)


def _parts(draft: Draft, said: Said, content: JsonObject, message: JsonObject) -> None:
    """Texts and pointers to files; also what is of no known kind, as far as it has a text."""
    parts = content.get("parts")
    for part in parts if isinstance(parts, list) else [fields.text(content, "text") or fields.text(content, "result")]:
        if isinstance(part, str):
            _speak(draft, said, part, message)
        elif isinstance(part, dict):
            _part(draft, said, part, message)
        elif part is not None:
            draft.lose(Loss.UNKNOWN_CONTENT)


def _part(draft: Draft, said: Said, part: JsonObject, message: JsonObject) -> None:
    kind = fields.text(part, "content_type")
    pointers = [value for value in (part, *part.values()) if isinstance(value, dict) and "asset_pointer" in value]
    if text := fields.text(part, "text") or fields.text(part, "result"):
        _speak(draft, said, text, message)
    elif not pointers:
        draft.lose(Loss.UNKNOWN_CONTENT)
    for pointer in pointers:
        media_type = "image/unknown" if kind == "image_asset_pointer" else fields.text(pointer, "mime_type")
        draft.file(said, fields.text(pointer, "asset_pointer"), media_type=media_type)


def _speak(draft: Draft, said: Said, text: str, message: JsonObject) -> None:
    """A text that a person reads, or that a tool was told or told."""
    if role_of(message) == "tool":
        _result(draft, said, text)
    elif role_of(message) == "assistant" and fields.text(message, "recipient", "all") not in ("all", ""):
        draft.text(said, fenced(text))
    else:
        draft.text(said, _without_marks(text[: said.room], message) + text[said.room :])


def _result(draft: Draft, said: Said, text: str) -> None:
    if not text.strip():
        return
    draft.lose(Loss.SHORTENED, int(len(text) > _MAX_TOOL_TEXT))
    draft.text(said, fenced(cut(text, _MAX_TOOL_TEXT)))


def _code(draft: Draft, said: Said, content: JsonObject, message: JsonObject) -> None:
    if text := fields.text(content, "text"):
        language = fields.text(content, "language")
        draft.text(said, fenced(text, "" if language == "unknown" else language))


def _output(draft: Draft, said: Said, content: JsonObject, message: JsonObject) -> None:
    _result(draft, said, fields.text(content, "text"))


def _thoughts(draft: Draft, said: Said, content: JsonObject, message: JsonObject) -> None:
    """A list of thoughts with a summary each; older exports have one text."""
    listed = content.get("thoughts")
    for thought in listed if isinstance(listed, list) else [listed]:
        if isinstance(thought, str):
            draft.reasoning(said, thought)
        elif isinstance(thought, dict):
            texts = (fields.text(thought, "summary"), fields.text(thought, "content"))
            draft.reasoning(said, "\n\n".join(filter(None, texts)))


def _recap(draft: Draft, said: Said, content: JsonObject, message: JsonObject) -> None:
    draft.reasoning(said, fields.text(content, "content"))


def _browsing(draft: Draft, said: Said, content: JsonObject, message: JsonObject) -> None:
    _result(draft, said, fields.text(content, "result") or fields.text(content, "summary"))


def _quote(draft: Draft, said: Said, content: JsonObject, message: JsonObject) -> None:
    title = one_line(fields.text(content, "title") or fields.text(content, "domain"), _MAX_WORD)
    text = fields.text(content, "text")
    draft.lose(Loss.SHORTENED, int(len(text) > _MAX_TOOL_TEXT))
    source = " ".join(filter(None, (title, one_line(fields.text(content, "url"), _MAX_URL))))
    draft.text(said, "\n".join(filter(None, (source, quoted(cut(text, _MAX_TOOL_TEXT))))))


def _error(draft: Draft, said: Said, content: JsonObject, message: JsonObject) -> None:
    texts = (fields.text(content, "name"), fields.text(content, "text"))
    _result(draft, said, ": ".join(filter(None, texts)))


_KINDS: dict[str, Callable[[Draft, Said, JsonObject, JsonObject], None]] = {
    "text": _parts,
    "multimodal_text": _parts,
    "code": _code,
    "execution_output": _output,
    "thoughts": _thoughts,
    "reasoning_recap": _recap,
    "tether_browsing_display": _browsing,
    "tether_quote": _quote,
    "system_error": _error,
}


def _attachments(draft: Draft, said: Said, content: JsonObject, message: JsonObject) -> None:
    """The files that a person sent along; images of them are in the content, too, and count once."""
    shown = {id_in(fields.text(part, "asset_pointer")) for part in fields.objects(content, "parts")}
    for item in fields.objects(fields.obj(message, "metadata"), "attachments"):
        reference = fields.text(item, "id")
        if id_in(reference) not in shown or not id_in(reference):
            media_type = fields.text(item, "mime_type") or fields.text(item, "mimeType")
            draft.file(said, reference, fields.text(item, "name"), media_type)


def _facts(said: Said, message: JsonObject) -> None:
    """Which model spoke, and what it cites."""
    metadata = fields.obj(message, "metadata")
    if model := fields.text(metadata, "model_slug"):
        said.metadata["model_slug"] = model[:_MAX_WORD]
    for page in _cited(metadata):
        said.cite(fields.text(page, "url"), fields.text(page, "title"))


def _cited(metadata: JsonObject) -> Iterator[JsonObject]:
    """The pages that a message cites, in each of the ways in which ChatGPT has said it."""
    yield from (fields.obj(item, "metadata") for item in fields.objects(metadata, "citations"))
    yield from fields.objects(fields.obj(metadata, "_cite_metadata"), "metadata_list")
    for reference in fields.objects(metadata, "content_references"):
        yield from fields.objects(reference, "items")


def _without_marks(text: str, message: JsonObject) -> str:
    """A text with what ChatGPT shows in place of its marks for citations."""
    if "\ue200" not in text:
        return text
    references = fields.objects(fields.obj(message, "metadata"), "content_references")
    shown = {fields.text(item, "matched_text"): cut(fields.text(item, "alt"), _MAX_WORD) for item in references}
    return _MARK.sub("", _MARK.sub(lambda mark: shown.get(mark.group(), ""), text, count=_MAX_MARKS))


def _holds(value: Any) -> bool:
    """Whether a field of a content holds something: text, or objects."""
    items = value if isinstance(value, list) else [value]
    return any(isinstance(item, dict) or (isinstance(item, str) and bool(item.strip())) for item in items)

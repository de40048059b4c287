"""What a message says: Jan's content parts as OpenAI's, and the files that came with them.

Jan's `image` and `pdf` parts carry a text and, in `annotations`, the file: its path below the janroot, or the data
itself when Jan could not write it. A path is a hint from somebody's disk, so only its last part is used, and only to
name a file of the thread's own `files/` folder.
"""

import re
from typing import Any

from jan.errors import InvalidArgumentError
from jan.ids import Id
from storage_service.store.forms import fields
from storage_service.store.records import JsonObject

_IMAGE, _PDF = "image", "pdf"
# `threads/<id>/files/<name>`, or from the thread's own folder on.
_OWN_FILE = re.compile(r"(?:(?:\./)?threads/[^/\\]+/)?files/(?P<name>[^/\\]+)")
_FILE_SEARCH = {"type": "file_search"}


def parts(raw: JsonObject) -> list[JsonObject]:
    """The content of a message's line as OpenAI's parts; parts of other types are handed on as they stand."""
    return [part for item in _items(raw) for part in _part(item)]


def attachments(raw: JsonObject) -> list[JsonObject]:
    """What is attached to a message: what its line says, and the documents of Jan's `pdf` parts."""
    documents = [
        {"file_id": name, "tools": [_FILE_SEARCH]}
        for item in _items(raw)
        if item.get("type") == _PDF
        for name in map(own_file, references(item))
        if name
    ]
    return fields.objects(raw, "attachments") + documents


def references(part: JsonObject) -> list[str]:
    """The files that one of Jan's parts names, as it names them: paths, URLs or data URLs."""
    if part.get("type") not in (_IMAGE, _PDF):
        return []
    annotations = fields.obj(part, "text").get("annotations")
    return [item for item in annotations if isinstance(item, str)] if isinstance(annotations, list) else []


def own_file(reference: str) -> str | None:
    """The name in the thread's `files/` that a path means; None for a URL, and for a path that leads elsewhere."""
    match = _OWN_FILE.fullmatch(reference)
    if match is None:
        return None
    try:
        return Id.parse(match["name"])
    except InvalidArgumentError:
        return None


def is_url(reference: str) -> bool:
    """Whether a reference is an address or the data itself, and no path."""
    return reference.startswith(("data:", "https://", "http://"))


def _items(raw: JsonObject) -> list[JsonObject]:
    """Content parts; early API writes stored a plain string (janhq/jan #1434), and some a list of them."""
    content = raw.get("content")
    items: list[Any] = content if isinstance(content, list) else [content]
    return [_text(item) if isinstance(item, str) else item for item in items if isinstance(item, str | dict)]


def _part(item: JsonObject) -> list[JsonObject]:
    if item.get("type") not in (_IMAGE, _PDF):
        return [item]
    said = fields.text(fields.obj(item, "text"), "value")
    files = [part for part in (_file(item, reference) for reference in references(item)) if part is not None]
    return ([_text(said)] if said or not files else []) + files


def _file(item: JsonObject, reference: str) -> JsonObject | None:
    """The part for a file that is shown in the message itself; documents on disk are attachments instead."""
    if item["type"] == _IMAGE:
        if is_url(reference):
            return {"type": "image_url", "image_url": {"url": reference}}
        name = own_file(reference)
        return {"type": "image_file", "image_file": {"file_id": name}} if name else None
    if reference.startswith("data:"):
        name = fields.text(fields.obj(item, "text"), "name") or "document.pdf"
        return {"type": "file", "file": {"filename": name, "file_data": reference}}
    return None


def _text(value: str) -> JsonObject:
    return {"type": "text", "text": {"value": value, "annotations": []}}

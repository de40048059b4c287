"""What names other things in a thread's files, when those things, or the thread itself, get another name."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from storage_service.store import jsonl, jsontext
from storage_service.store.forms import fields
from storage_service.store.forms import messages as message_form
from storage_service.store.records import JsonObject

_PIECE_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Names:
    """Old names and their new ones. `old_thread` is the name of the folder that the thread had."""

    old_thread: str
    thread: str
    assistants: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    stores: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_moved(self) -> bool:
        """Whether the thread has another name."""
        return self.old_thread != self.thread

    @property
    def changes_lines(self) -> bool:
        """Whether any line may have to change."""
        return self.is_moved or bool(self.assistants) or bool(self.files)

    def under(self, thread: str) -> "Names":
        """The same for another name of the thread."""
        return replace(self, thread=thread)

    def touch(self, line: bytes) -> bool:
        """Whether a line may name something that has another name now; a backslash may hide any letter of a name."""
        return (
            self.is_moved
            or (b"\\" in line and self.changes_lines)
            or any(old.encode() in line for old in (*self.assistants, *self.files, *self.stores))
        )


def lines(fd: int, names: Names) -> Iterator[bytes]:
    """A messages.jsonl or runs.jsonl as it is under these names; what need not change keeps every byte."""
    if not names.changes_lines:
        yield from as_it_is(fd)
        return
    for segment in jsonl.segments(fd):
        line = jsonl.read(fd, segment)
        if segment.value is None or not names.touch(line):
            yield line + b"\n"
            continue
        changed = _line(segment.value, names)
        yield line + b"\n" if changed == segment.value else jsonl.encode(changed)


def thread_file(data: bytes, names: Names) -> bytes | None:
    """A thread.json as it is under these names; None when it is not one JSON object."""
    raw = jsontext.load_object(data)
    if raw is None:
        return None
    if not names.touch(data) and not (b"\\" in data and names.stores):
        return data
    changed = thread_object(raw, names)
    return data if changed == raw else jsontext.dumps(changed, indented=True)


def thread_object(raw: JsonObject, names: Names) -> JsonObject:
    """The same for what it says."""
    changed = dict(raw)
    if names.is_moved and "id" in raw:
        changed["id"] = names.thread
    if isinstance(raw.get("assistants"), list):
        changed["assistants"] = [_assistant(item, names.assistants) for item in raw["assistants"]]
    if isinstance(raw.get("messages"), list):
        changed["messages"] = [_line(item, names) if isinstance(item, dict) else item for item in raw["messages"]]
    return with_stores(changed, names.stores)


def with_stores(raw: JsonObject, stores: Mapping[str, str]) -> JsonObject:
    """A thread or an assistant that searches vector stores, under their new names."""
    resources = fields.obj(raw, "tool_resources")
    search = fields.obj(resources, "file_search")
    named = search.get("vector_store_ids")
    if not isinstance(named, list) or not stores:
        return raw
    new = [stores.get(item, item) if isinstance(item, str) else item for item in named]
    return raw | {"tool_resources": resources | {"file_search": search | {"vector_store_ids": new}}}


def _line(raw: JsonObject, names: Names) -> JsonObject:
    """A message, a run or a step."""
    line = raw
    if names.is_moved and ("thread_id" in raw or "content" in raw):
        line = message_form.renamed(line, names.old_thread, names.thread)
    assistant_id = line.get("assistant_id")
    if isinstance(assistant_id, str) and assistant_id in names.assistants:
        line = line | {"assistant_id": names.assistants[assistant_id]}
    return _with_files(line, names.files) if names.files else line


def _with_files(line: JsonObject, files: Mapping[str, str]) -> JsonObject:
    changed: dict[str, Any] = {}
    if isinstance(line.get("file_ids"), list):
        changed["file_ids"] = [files.get(item, item) if isinstance(item, str) else item for item in line["file_ids"]]
    if isinstance(line.get("attachments"), list):
        changed["attachments"] = [_file(item, files) for item in line["attachments"]]
    if isinstance(line.get("content"), list):
        changed["content"] = [_part(item, files) for item in line["content"]]
    return line | changed


def _part(part: Any, files: Mapping[str, str]) -> Any:
    image = fields.obj(part, "image_file") if isinstance(part, dict) else {}
    return part | {"image_file": _file(image, files)} if image else part


def _file(item: Any, files: Mapping[str, str]) -> Any:
    file_id = item.get("file_id") if isinstance(item, dict) else None
    return item | {"file_id": files[file_id]} if isinstance(file_id, str) and file_id in files else item


def _assistant(item: Any, assistants: Mapping[str, str]) -> Any:
    """One of a thread's assistants: a draft had only the id, Jan 0.6 calls it `id`."""
    if isinstance(item, str):
        return assistants.get(item, item)
    if not isinstance(item, dict):
        return item
    key = "assistant_id" if "assistant_id" in item else "id"
    old = item.get(key)
    return item | {key: assistants[old]} if isinstance(old, str) and old in assistants else item


def as_it_is(fd: int) -> Iterator[bytes]:
    """A whole file, piece by piece."""
    offset = 0
    while data := os.pread(fd, _PIECE_BYTES, offset):
        yield data
        offset += len(data)

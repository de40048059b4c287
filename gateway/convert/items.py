"""Items of the Responses API between requests, a thread's messages and OpenAI's objects.

An item is a message of the thread, under the same id. What threads have no word for, calls of functions, their outputs
and searches of files, are messages whose one content part has the item's own type and fields.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from gateway.convert.json_fields import from_text, to_text
from gateway.idempotency.new_ids import NewIds
from gateway.schemas.common import JsonObject
from gateway.schemas.compactions import pack
from gateway.schemas.namespaces import Spelled
from gateway.schemas.response_items import (
    CompactionItem,
    FilePart,
    FileSearchCallItem,
    FunctionCallItem,
    FunctionOutputItem,
    ImagePart,
    MessageItem,
    NewItem,
    ReadFilePart,
    ReasoningItem,
    TextPart,
)
from gateway.vector_stores.excerpts import Excerpt
from jan.ids import MessageId
from jan.storage.v1 import messages_pb2

FUNCTION_CALL = "function_call"
FUNCTION_OUTPUT = "function_call_output"
FILE_SEARCH_CALL = "file_search_call"
COMPACTION = "compaction"
FILE = "file"
_REASONING = "reasoning"

_ROLES = {
    "user": messages_pb2.MESSAGE_ROLE_USER,
    "assistant": messages_pb2.MESSAGE_ROLE_ASSISTANT,
    "system": messages_pb2.MESSAGE_ROLE_SYSTEM,
    "developer": messages_pb2.MESSAGE_ROLE_SYSTEM,
}
_ROLE_PREFIX = "MESSAGE_ROLE_"
_STATUSES = {
    messages_pb2.MESSAGE_STATUS_IN_PROGRESS: "in_progress",
    messages_pb2.MESSAGE_STATUS_INCOMPLETE: "incomplete",
}


def new_item(item: NewItem, ids: NewIds) -> messages_pb2.Message:
    """The message that an item of a request becomes, with the next of `ids`."""
    match item:
        case MessageItem():
            role = _ROLES[item.role]
            parts = list(map(_part, item.content))
        case FunctionCallItem():
            role = messages_pb2.MESSAGE_ROLE_ASSISTANT
            parts = [call_part(item.call_id, Spelled(item.name, item.namespace), item.arguments)]
        case FunctionOutputItem():
            role, parts = messages_pb2.MESSAGE_ROLE_TOOL, [_output_part(item)]
        case FileSearchCallItem():
            found = None if item.results is None else [_excerpt(result.model_dump()) for result in item.results]
            role, parts = messages_pb2.MESSAGE_ROLE_ASSISTANT, [search_part(item.queries, found)]
        case ReasoningItem():
            role, parts = messages_pb2.MESSAGE_ROLE_ASSISTANT, [thought_part(item.thought)]
        case CompactionItem():
            role, parts = messages_pb2.MESSAGE_ROLE_USER, [{"type": COMPACTION, "summary": item.summary}]
    return messages_pb2.Message(
        id=ids.next(MessageId),
        status=messages_pb2.MESSAGE_STATUS_COMPLETED,
        role=role,
        content_json=to_text(parts),
        metadata_json="{}",
    )


def _part(part: TextPart | ImagePart | FilePart) -> JsonObject:
    """A part as threads keep it; of a document what it says, and where it came from."""
    if isinstance(part, TextPart):
        return {"type": "text", "text": {"value": part.said, "annotations": []}}
    if isinstance(part, ImagePart):
        upload = {"file_id": part.file_id} if part.file_id is not None else None
        kind, source = ("image_file", upload) if upload is not None else ("image_url", {"url": part.image_url})
        return {"type": kind, kind: {**source, "detail": part.detail or "auto"}}
    named = {"filename": part.filename} | ({"file_id": part.file_id} if part.file_id else {})
    return {"type": FILE, FILE: named | ({"text": part.text} if isinstance(part, ReadFilePart) else {})}


def call_part(call_id: str, function: Spelled, arguments: str) -> JsonObject:
    """The content part of a call."""
    part = {"type": FUNCTION_CALL, "call_id": call_id, "name": function.name, "arguments": arguments}
    return part | ({"namespace": function.namespace} if function.namespace else {})


def _output_part(item: FunctionOutputItem) -> JsonObject:
    """The content part of an output; of one that nobody asked for, what gave it."""
    said = {"call_id": item.call_id, "name": item.name, "namespace": item.namespace}
    told = {name: value for name, value in said.items() if value is not None}
    return {"type": FUNCTION_OUTPUT, **told, "output": item.text}


def search_part(queries: Sequence[str], found: Sequence[Excerpt] | None, status: str = "completed") -> JsonObject:
    """The content part of a search of files. found: None where nobody knows."""
    results = None if found is None else [*map(asdict, found)]
    return {"type": FILE_SEARCH_CALL, "status": status, "queries": list(queries), "results": results}


def is_search(message: messages_pb2.Message) -> bool:
    """Whether a message is a search of files, which says nothing to anybody."""
    if FILE_SEARCH_CALL not in message.content_json:  # long threads are looked through
        return False
    return [part.get("type") for part in parts_of(message)] == [FILE_SEARCH_CALL]


def found_by(message: messages_pb2.Message) -> list[Excerpt] | None:
    """What a search found, the best first; None for a message that is none, or of which that is not known."""
    if not is_search(message):
        return None
    [part] = parts_of(message)
    results = part.get("results")
    return [*map(_excerpt, results)] if isinstance(results, list) else None


def thought_part(text: str) -> JsonObject:
    """The content part of what a model thought, as Jan has it."""
    return {"type": _REASONING, "text": {"value": text, "annotations": []}}


def parts_of(message: messages_pb2.Message) -> list[JsonObject]:
    """The content parts of a message."""
    parts: list[JsonObject] = from_text(message.content_json, [])
    return parts


def item_from_message(message: messages_pb2.Message, *, with_results: bool = False) -> JsonObject:
    """The item that a message is, whoever wrote it; parts that the Responses API has no word for are left out.

    with_results: a search of files tells what it found.
    """
    parts = parts_of(message)
    status = _STATUSES.get(message.status, "completed")
    match parts:
        case [{"type": "function_call" | "function_call_output"} as part]:
            return {"id": message.id, "status": status, **part}
        case [{"type": "file_search_call"} as part]:
            found = part.get("results") if with_results else None
            return search_item(message.id, part.get("status") or status, part.get("queries") or [], found)
        case [{"type": "reasoning"} as part]:
            return reasoning_item(message.id, status, [_text_of(part)])
        case [{"type": "compaction"} as part]:
            return compaction_item(message.id, str(part.get("summary") or ""))
    role = messages_pb2.MessageRole.Name(message.role).removeprefix(_ROLE_PREFIX).lower()
    spoken = role == "assistant"
    content = [told for part in parts for told in _told(part, spoken=spoken)]
    return message_item(message.id, role, status, content)


def message_item(id_: str, role: str, status: str, content: Iterable[JsonObject]) -> JsonObject:
    """OpenAI's item of a message."""
    return {"id": id_, "type": "message", "status": status, "role": role, "content": list(content)}


def reasoning_item(id_: str, status: str, texts: Iterable[str]) -> JsonObject:
    """OpenAI's item of what a model thought."""
    content = [reasoning_text(text) for text in texts]
    return {"id": id_, "type": _REASONING, "status": status, "summary": [], "content": content}


def reasoning_text(text: str) -> JsonObject:
    """The part of a thought."""
    return {"type": "reasoning_text", "text": text}


def search_item(id_: str, status: str, queries: Iterable[str], found: Any = None) -> JsonObject:
    """OpenAI's item of a search of files. found: its results, where they are to be shown."""
    return {"id": id_, "type": FILE_SEARCH_CALL, "status": status, "queries": list(queries), "results": found}


def compaction_item(id_: str, summary: str) -> JsonObject:
    """OpenAI's item of a summary that stands for what was said before."""
    return {"id": id_, "type": COMPACTION, "encrypted_content": pack(summary)}


def output_text(text: str, annotations: Iterable[JsonObject] = ()) -> JsonObject:
    """The part of an answer."""
    return {"type": "output_text", "text": text, "annotations": list(annotations), "logprobs": []}


def _told(part: JsonObject, *, spoken: bool) -> Iterable[JsonObject]:
    match part.get("type", "text"):
        case "text":
            text, said = part.get("text"), _text_of(part)
            cited = (text.get("annotations") if isinstance(text, dict) else None) or ()
            yield output_text(said, map(file_citation, cited)) if spoken else {"type": "input_text", "text": said}
        case "file":
            file = part.get(FILE) or {}
            known = {name: file[name] for name in ("file_id", "filename", "file_data") if file.get(name)}
            yield {"type": "input_file", **known}
        case "image_url":
            image = part.get("image_url") or {}
            yield _image(image, image_url=image.get("url"), file_id=None)
        case "image_file":
            image = part.get("image_file") or {}
            yield _image(image, image_url=None, file_id=image.get("file_id"))


def _excerpt(result: JsonObject) -> Excerpt:
    """What a search found, as its item has it; clients, and hands in a thread's file, may have left things out."""
    file_id, filename, text = (str(result.get(name) or "") for name in ("file_id", "filename", "text"))
    return Excerpt(file_id, filename, text, result.get("score") or 0, result.get("attributes") or {})


def _text_of(part: JsonObject) -> str:
    text = part.get("text")
    return str((text.get("value") if isinstance(text, dict) else text) or "")


def _image(image: JsonObject, **source: Any) -> JsonObject:
    return {"type": "input_image", "detail": image.get("detail") or "auto", **source}


def file_citation(annotation: JsonObject) -> JsonObject:
    """A citation of a file as the Responses API spells it."""
    cited = annotation.get("file_citation") or {}
    return {
        "type": "file_citation",
        "file_id": cited.get("file_id") or "",
        "filename": cited.get("file_name") or "",
        "index": annotation.get("end_index") or 0,
    }

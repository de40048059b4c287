"""Messages between requests, storage's records and OpenAI's objects."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from typing import Any

from gateway.convert.items import FILE_SEARCH_CALL
from gateway.convert.json_fields import from_text, string_map, to_text
from gateway.convert.times import optional_seconds, seconds
from gateway.idempotency.new_ids import NewIds
from gateway.schemas.messages import CreateMessage
from jan.errors import InvalidArgumentError
from jan.ids import MessageId
from jan.storage.v1 import messages_pb2

_ROLES = {"user": messages_pb2.MESSAGE_ROLE_USER, "assistant": messages_pb2.MESSAGE_ROLE_ASSISTANT}
_STATUSES = {
    messages_pb2.MESSAGE_STATUS_UNSPECIFIED: "completed",
    messages_pb2.MESSAGE_STATUS_IN_PROGRESS: "in_progress",
    messages_pb2.MESSAGE_STATUS_COMPLETED: "completed",
    messages_pb2.MESSAGE_STATUS_INCOMPLETE: "incomplete",
}
_ROLE_PREFIX = "MESSAGE_ROLE_"
# How storage calls a file of a new message.
_ATTACHED = re.compile(
    r"(?P<list>(additional_)?messages\[(?P<message>\d+)\]\.)?"
    r"(?P<field>attachments\[(?P<index>\d+)\]\.file_id|content\[\d+\]\.image_file\.file_id)"
)


def new_message(body: CreateMessage, ids: NewIds, thread_id: str = "") -> messages_pb2.Message:
    """The message that a request asks for, with the next of `ids`; those that begin a thread name no thread yet."""
    attachments = [attachment.model_dump() for attachment in body.attachments or []]
    attachments += [{"file_id": file_id, "tools": []} for _, file_id in _only_in_file_ids(body)]
    return messages_pb2.Message(
        id=ids.next(MessageId),
        thread_id=thread_id,
        status=messages_pb2.MESSAGE_STATUS_COMPLETED,
        role=_ROLES[body.role],
        content_json=to_text([part.as_stored() for part in body.content]),
        attachments_json=to_text(attachments or None),
        metadata_json=to_text(body.metadata or {}),
    )


@contextlib.contextmanager
def files_named_as_sent(messages: Sequence[CreateMessage] | None, *, before: str = "") -> Iterator[None]:
    """Errors about the files of new messages name the field that was sent: storage knows attachments alone.

    before: what stands in front of the messages in the request, as `thread.`.
    """
    try:
        yield
    except InvalidArgumentError as error:
        place = _ATTACHED.fullmatch(error.param or "")
        if place is None or messages is None:
            raise
        body, index, field = messages[int(place["message"] or 0)], int(place["index"] or 0), place["field"]
        if field.startswith("attachments") and index >= (attached := len(body.attachments or ())):
            field = f"file_ids[{_only_in_file_ids(body)[index - attached][0]}]"
        param = f"{before}{place['list'] or ''}{field}"
        raise InvalidArgumentError(error.message, code=error.code, param=param) from None


def _only_in_file_ids(body: CreateMessage) -> list[tuple[int, str]]:
    """The files that are attached in Jan's way alone, each with its place there."""
    attached = {attachment.file_id for attachment in body.attachments or ()}
    return [(place, file_id) for place, file_id in enumerate(body.file_ids or ()) if file_id not in attached]


def message_from_proto(message: messages_pb2.Message) -> dict[str, Any]:
    """OpenAI's `thread.message`; Jan's `file_ids` follows. Roles of Jan's older files are answered as they are."""
    attachments = from_text(message.attachments_json, [])
    return {
        "id": message.id,
        "object": "thread.message",
        "created_at": seconds(message.created_at),
        "thread_id": message.thread_id,
        "status": _STATUSES[message.status],
        "incomplete_details": {"reason": message.incomplete_reason} if message.incomplete_reason else None,
        "completed_at": optional_seconds(message, "completed_at"),
        "incomplete_at": optional_seconds(message, "incomplete_at"),
        "role": messages_pb2.MessageRole.Name(message.role).removeprefix(_ROLE_PREFIX).lower(),
        "content": [_whole_part(part) for part in from_text(message.content_json, [])],
        "assistant_id": message.assistant_id or None,
        "run_id": message.run_id or None,
        "attachments": attachments,
        "metadata": string_map(message.metadata_json),
        "file_ids": [attachment["file_id"] for attachment in attachments if "file_id" in attachment],
    }


def _whole_part(part: dict[str, Any]) -> dict[str, Any]:
    """A text part with both fields that OpenAI promises, whatever an old file left out; other parts as they are.

    What a search of files found is told by the Responses API alone, to who asks for it.
    """
    if part.get("type") == FILE_SEARCH_CALL:
        return {name: value for name, value in part.items() if name != "results"}
    text = part.get("text")
    if part.get("type") != "text" or not isinstance(text, dict | str):
        return part
    value = {"value": text} if isinstance(text, str) else text
    return part | {"text": {"value": "", "annotations": []} | value}

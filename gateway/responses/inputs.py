"""From the items of a request to the messages that they become, copies of what they refer to among them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from gateway.convert.items import new_item, parts_of
from gateway.http.mentions import mentioned_in
from gateway.idempotency.new_ids import NewIds
from gateway.images.places import IMAGE_FILE
from gateway.runs.derived_ids import thread_of_item
from gateway.schemas.response_items import AnyItem, ItemReference
from gateway.services.storage import StorageClient
from jan.errors import InvalidArgumentError, NotFoundError
from jan.ids import FileId, MessageId, ThreadId
from jan.storage.v1 import messages_pb2


async def input_messages(
    storage: StorageClient,
    items: Sequence[AnyItem],
    ids: NewIds,
    in_front: str | Iterable[messages_pb2.Message],
    *,
    field: str = "input",
    all_told: bool = False,
) -> list[messages_pb2.Message]:
    """The messages that items become, in their order. in_front: the thread behind which they stand, or its messages.

    A reference becomes a copy of its item; nothing where that stands in front anyway, or was referred to before.
    field: what the request calls the items. all_told: what a reference finds in the thread is among them too: storage
    adds nothing twice, and an earlier sending of the request may have put it there. Raises NotFoundError: nothing goes
    by the id of a reference, or an upload is not there. InvalidArgumentError: that is no id of an upload.
    """
    made: list[messages_pb2.Message] = []
    seen = set() if isinstance(in_front, str) else {message.id for message in in_front}
    thread_id = in_front if isinstance(in_front, str) else ""
    for place, item in enumerate(items):
        name = f"{field}[{place}]"
        if not isinstance(item, ItemReference):
            made.append(new_item(item, ids))
        elif item.id in seen or ((found := await _find(storage, thread_id, item.id)) is not None and not all_told):
            continue
        elif (found := found or await _find(storage, thread_of_item(item.id), item.id)) is not None:
            seen.add(item.id)
            made.append(copy_of(found))
        else:
            raise NotFoundError(f"Item with id {item.id[:160]!a} not found.", param=f"{name}.id")
        await _check_uploads(storage, made[-1], name, is_copy=isinstance(item, ItemReference))
    return made


def copy_of(message: messages_pb2.Message) -> messages_pb2.Message:
    """What a message says, for another thread, under the same id."""
    copy = messages_pb2.Message()
    copy.CopyFrom(message)
    copy.ClearField("thread_id")
    copy.ClearField("run_id")
    return copy


async def _check_uploads(storage: StorageClient, message: messages_pb2.Message, name: str, *, is_copy: bool) -> None:
    """Raises NotFoundError, InvalidArgumentError: an image is an upload that is not there; named as it was sent."""
    for number, part in enumerate(parts_of(message)):
        if part.get("type") == IMAGE_FILE:
            with mentioned_in(f"{name}.id" if is_copy else f"{name}.content[{number}].file_id"):
                await storage.get_file(FileId.parse(str(part[IMAGE_FILE].get("file_id"))))


async def _find(storage: StorageClient, thread_id: str, item_id: str) -> messages_pb2.Message | None:
    try:
        return await storage.get_message(ThreadId.parse(thread_id), MessageId.parse(item_id))
    except (NotFoundError, InvalidArgumentError):
        return None

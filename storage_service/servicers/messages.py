"""MessageService over the store."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from grpc import aio

from jan.errors import InvalidArgumentError
from jan.ids import AssistantId, MessageId, RunId, ThreadId
from jan.rpc import ACCEPTED
from jan.storage.v1 import messages_pb2 as pb
from jan.storage.v1.messages_pb2_grpc import MessageServiceServicer
from storage_service.access import Access
from storage_service.servicers import values
from storage_service.servicers.appends import AppendStream
from storage_service.store.records import Message, MessageStatus, Role
from storage_service.store.store import Store

Context = aio.ServicerContext[Any, Any]

_ROLE = {role: pb.MessageRole.Value(f"MESSAGE_ROLE_{role.name}") for role in Role}
_ROLE_FROM = {number: role for role, number in _ROLE.items()}
_STATUS = {status: pb.MessageStatus.Value(f"MESSAGE_STATUS_{status.name}") for status in MessageStatus}
_STATUS_FROM = {number: status for status, number in _STATUS.items()}


class MessageServicer(MessageServiceServicer):
    """See messages.proto. Streams end once `stop` is set."""

    def __init__(self, access: Access, store: Store, stop: asyncio.Event) -> None:
        self._access = access
        self._store = store
        self._messages = store.messages
        self._stop = stop

    async def CreateMessage(self, request: pb.CreateMessageRequest, context: Context) -> pb.CreateMessageResponse:
        """See messages.proto."""
        return pb.CreateMessageResponse(message=await self._append(request.message))

    async def CreateMessages(self, request: pb.CreateMessagesRequest, context: Context) -> pb.CreateMessagesResponse:
        """See messages.proto."""
        thread_id = ThreadId.parse(request.thread_id)
        messages = [from_proto(thread_id, message) for message in request.messages]
        stored = await self._access.run_alone(
            thread_id, lambda: self._store.append(thread_id, messages, named="messages")
        )
        return pb.CreateMessagesResponse(messages=map(to_proto, stored))

    async def AppendMessages(
        self, request_iterator: AsyncIterable[pb.AppendMessagesRequest], context: Context
    ) -> AsyncGenerator[pb.AppendMessagesResponse, None]:
        """See messages.proto."""
        await context.send_initial_metadata((ACCEPTED,))
        async with aclosing(AppendStream(self._append, self._stop).outcomes(request_iterator)) as responses:
            async for response in responses:
                yield response

    async def GetMessage(self, request: pb.GetMessageRequest, context: Context) -> pb.GetMessageResponse:
        """See messages.proto."""
        thread_id, message_id = ThreadId.parse(request.thread_id), MessageId.parse(request.message_id)
        message = await self._access.run(lambda: self._messages.get(thread_id, message_id))
        return pb.GetMessageResponse(message=to_proto(message))

    async def ListMessages(self, request: pb.ListMessagesRequest, context: Context) -> pb.ListMessagesResponse:
        """See messages.proto."""
        thread_id, query = ThreadId.parse(request.thread_id), values.page_query(request.page)
        page = await self._access.run(lambda: self._messages.page(thread_id, query, request.run_id))
        return pb.ListMessagesResponse(messages=map(to_proto, page.items), has_more=page.has_more)

    async def UpdateMessage(self, request: pb.UpdateMessageRequest, context: Context) -> pb.UpdateMessageResponse:
        """See messages.proto."""
        thread_id, message_id = ThreadId.parse(request.thread_id), MessageId.parse(request.message_id)
        metadata = values.load_object(request.metadata_json, "metadata")
        stored = await self._access.run_alone(
            thread_id,
            lambda: self._messages.change(
                thread_id, message_id, lambda message: replace(message, metadata=metadata), request.if_revision
            ),
        )
        return pb.UpdateMessageResponse(message=to_proto(stored))

    async def DeleteMessage(self, request: pb.DeleteMessageRequest, context: Context) -> pb.DeleteMessageResponse:
        """See messages.proto."""
        thread_id, message_id = ThreadId.parse(request.thread_id), MessageId.parse(request.message_id)
        await self._access.run_alone(
            thread_id, lambda: self._messages.delete(thread_id, message_id, request.if_revision)
        )
        return pb.DeleteMessageResponse()

    async def _append(self, sent: pb.Message) -> pb.Message:
        thread_id = ThreadId.parse(sent.thread_id)
        message = from_proto(thread_id, sent)
        [stored] = await self._access.run_together(
            thread_id, [message], lambda requests: self._store.append_each(thread_id, requests)
        )
        return to_proto(stored)


def to_proto(message: Message) -> pb.Message:
    """A message for the wire."""
    return pb.Message(
        id=message.id,
        thread_id=message.thread_id,
        created_at=values.timestamp(message.created_ms),
        completed_at=values.timestamp(message.completed_ms),
        incomplete_at=values.timestamp(message.incomplete_ms),
        status=_STATUS[message.status],
        incomplete_reason=message.incomplete_reason,
        role=_ROLE[message.role],
        content_json=values.dump(message.content),
        assistant_id=message.assistant_id,
        run_id=message.run_id,
        attachments_json=values.dump(message.attachments) if message.attachments else "",
        metadata_json=values.dump(message.metadata),
        revision=message.revision,
    )


def from_proto(thread_id: ThreadId, message: pb.Message) -> Message:
    """A new message from the wire; of its times only the one at which it was begun counts.

    Raises InvalidArgumentError: a bad id, role or JSON text.
    """
    role = _ROLE_FROM.get(message.role)
    if role is None:
        raise InvalidArgumentError("A message needs a role.", param="role")
    return Message(
        id=MessageId.parse(message.id),
        thread_id=thread_id,
        role=role,
        content=values.load_objects(message.content_json, "content"),
        created_ms=message.created_at.ToMilliseconds() if message.HasField("created_at") else 0,
        status=_STATUS_FROM.get(message.status, MessageStatus.COMPLETED),
        incomplete_reason=message.incomplete_reason,
        assistant_id=AssistantId.parse(message.assistant_id) if message.assistant_id else "",
        run_id=RunId.parse(message.run_id) if message.run_id else "",
        attachments=values.load_objects(message.attachments_json, "attachments"),
        metadata=values.load_object(message.metadata_json, "metadata"),
    )

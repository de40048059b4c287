"""A storage service over gRPC, with as much of the store's manners as the writer needs."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from google.protobuf.field_mask_pb2 import FieldMask

from jan import rpc
from jan.ids import AssistantId, FileId, MessageId, ThreadId, TrashId
from jan.storage.v1 import assistants_pb2, files_pb2, messages_pb2, paging_pb2, threads_pb2, trash_pb2
from jan.storage.v1.assistants_pb2_grpc import AssistantServiceStub
from jan.storage.v1.files_pb2_grpc import FileServiceStub
from jan.storage.v1.messages_pb2_grpc import MessageServiceStub
from jan.storage.v1.threads_pb2_grpc import ThreadServiceStub
from jan.storage.v1.trash_pb2_grpc import TrashServiceStub
from storage_service.servicers.messages import to_proto
from storage_service.store.paging import PageQuery
from storage_service.store.records import Assistant, File, Message, Role, Thread

DEADLINE_SECONDS = 20.0
BLANK_MESSAGE = Message(MessageId(""), ThreadId(""), Role.USER, [])


class Remote:
    """One service. Its collections are called as the store's are, from any thread; a call that breaks off raises.

    Nothing is ever asked twice, so what was acknowledged was acknowledged to the first question.
    """

    def __init__(self, address: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="chaos client")
        self._thread.start()
        self._channel = self._run(_open(address))
        self.threads = _Threads(self)
        self.messages = _Messages(self)
        self.trash = _Trash(self)
        self.files = _Files(self)
        self.assistants = _Assistants(self)

    def close(self) -> None:
        """Hang up."""
        self._run(self._channel.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def is_serving(self) -> bool:
        """Whether it answers."""
        return bool(self._run(rpc.is_serving(self._channel)))

    def ask(self, stub: Callable[[Any], Any], method: str, request: Any) -> Any:
        """Ask once. Raises JanError."""
        call = rpc.call(
            getattr(stub(self._channel), method), request, deadline_seconds=DEADLINE_SECONDS, repeatable=False
        )
        return self._run(call)

    def upload(self, parts: Sequence[files_pb2.CreateFileRequest]) -> None:
        """Send a file."""

        async def all_parts() -> AsyncIterator[files_pb2.CreateFileRequest]:
            for part in parts:
                yield part

        stub = FileServiceStub(self._channel)
        self._run(rpc.upload(stub.CreateFile, all_parts(), deadline_seconds=DEADLINE_SECONDS))

    def create_thread(self, assistant_id: AssistantId, thread: Thread, messages: Sequence[Message]) -> Thread:
        """See Store."""
        new = threads_pb2.Thread(title=thread.title)
        request = threads_pb2.CreateThreadRequest(
            assistant_id=assistant_id, thread=new, messages=map(to_proto, messages)
        )
        return _thread(self.ask(ThreadServiceStub, "CreateThread", request).thread)

    def append(self, thread_id: ThreadId, messages: Sequence[Message]) -> None:
        """See Store; one request each, since the contract has no other."""
        for message in messages:
            request = messages_pb2.CreateMessageRequest(message=to_proto(replace(message, thread_id=thread_id)))
            self.ask(MessageServiceStub, "CreateMessage", request)

    def delete_thread(self, thread_id: ThreadId) -> None:
        """See Store."""
        self.ask(ThreadServiceStub, "DeleteThread", threads_pb2.DeleteThreadRequest(thread_id=thread_id))

    def clear_thread(self, thread_id: ThreadId) -> None:
        """See Store."""
        self.ask(ThreadServiceStub, "ClearThread", threads_pb2.ClearThreadRequest(thread_id=thread_id))

    def clone_thread(self, thread_id: ThreadId, title: str) -> Thread:
        """See Store."""
        request = threads_pb2.CloneThreadRequest(thread_id=thread_id, title=title)
        return _thread(self.ask(ThreadServiceStub, "CloneThread", request).thread)

    def restore(self, trash_id: TrashId) -> None:
        """See Store."""
        self.ask(TrashServiceStub, "RestoreTrash", trash_pb2.RestoreTrashRequest(trash_id=trash_id))

    def _run(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


class _Collection:
    def __init__(self, remote: Remote) -> None:
        self._remote = remote


class _Threads(_Collection):
    def page(self, query: PageQuery) -> Any:
        request = threads_pb2.ListThreadsRequest(page=_page(query))
        return SimpleNamespace(
            items=list(map(_thread, self._remote.ask(ThreadServiceStub, "ListThreads", request).threads))
        )

    def get(self, thread_id: ThreadId) -> Thread:
        request = threads_pb2.GetThreadRequest(thread_id=thread_id)
        return _thread(self._remote.ask(ThreadServiceStub, "GetThread", request).thread)

    def change(self, thread_id: ThreadId, change: Callable[[Thread], Thread], if_revision: Sequence[str]) -> None:
        title = change(Thread(thread_id, 0, 0)).title
        request = threads_pb2.UpdateThreadRequest(
            thread=threads_pb2.Thread(id=thread_id, title=title),
            update_mask=FieldMask(paths=["title"]),
            if_revision=if_revision,
        )
        self._remote.ask(ThreadServiceStub, "UpdateThread", request)


class _Messages(_Collection):
    def page(self, thread_id: ThreadId, query: PageQuery) -> Any:
        request = messages_pb2.ListMessagesRequest(thread_id=thread_id, page=_page(query))
        answer = self._remote.ask(MessageServiceStub, "ListMessages", request)
        return SimpleNamespace(items=[_message(message) for message in answer.messages])

    def get(self, thread_id: ThreadId, message_id: MessageId) -> Message:
        request = messages_pb2.GetMessageRequest(thread_id=thread_id, message_id=message_id)
        return _message(self._remote.ask(MessageServiceStub, "GetMessage", request).message)

    def change(
        self,
        thread_id: ThreadId,
        message_id: MessageId,
        change: Callable[[Message], Message],
        if_revision: Sequence[str],
    ) -> None:
        metadata = json.dumps(change(BLANK_MESSAGE).metadata)
        request = messages_pb2.UpdateMessageRequest(
            thread_id=thread_id, message_id=message_id, metadata_json=metadata, if_revision=if_revision
        )
        self._remote.ask(MessageServiceStub, "UpdateMessage", request)

    def delete(self, thread_id: ThreadId, message_id: MessageId) -> None:
        request = messages_pb2.DeleteMessageRequest(thread_id=thread_id, message_id=message_id)
        self._remote.ask(MessageServiceStub, "DeleteMessage", request)


class _Trash(_Collection):
    def page(self, query: PageQuery) -> Any:
        answer = self._remote.ask(TrashServiceStub, "ListTrash", trash_pb2.ListTrashRequest(page=_page(query)))
        return SimpleNamespace(items=answer.entries)


class _Pieces:
    def __init__(self) -> None:
        self.pieces: list[bytes] = []

    def write(self, piece: bytes) -> None:
        self.pieces.append(piece)

    def discard(self) -> None:
        self.pieces.clear()


class _Files(_Collection):
    def begin(self) -> _Pieces:
        return _Pieces()

    def finish(self, upload: _Pieces, file: File) -> None:
        parts = [files_pb2.CreateFileRequest(data=piece) for piece in upload.pieces]
        new = files_pb2.NewFile(id=file.id, filename=file.filename, purpose=file.purpose)
        self._remote.upload([*parts, files_pb2.CreateFileRequest(file=new)])

    def delete(self, file_id: FileId) -> None:
        self._remote.ask(FileServiceStub, "DeleteFile", files_pb2.DeleteFileRequest(file_id=file_id))


class _Assistants(_Collection):
    def create(self, assistant: Assistant) -> None:
        new = assistants_pb2.Assistant(id=assistant.id, name=assistant.name or "", model="*")
        self._remote.ask(AssistantServiceStub, "CreateAssistant", assistants_pb2.CreateAssistantRequest(assistant=new))


async def _open(address: str) -> Any:
    return rpc.open_channel(address)


def _page(query: PageQuery) -> paging_pb2.PageRequest:
    order = paging_pb2.ORDER_DESC if query.descending else paging_pb2.ORDER_ASC
    return paging_pb2.PageRequest(page_size=query.limit, order=order)


def _thread(thread: threads_pb2.Thread) -> Thread:
    return Thread(ThreadId(thread.id), 0, 0, title=thread.title, revision=thread.revision)


def _message(message: messages_pb2.Message) -> Message:
    return Message(
        MessageId(message.id),
        ThreadId(message.thread_id),
        Role.USER,
        json.loads(message.content_json),
        metadata=json.loads(message.metadata_json or "{}"),
        revision=message.revision,
    )

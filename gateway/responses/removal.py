"""Removing a stored response, and its turn with it."""

from __future__ import annotations

import contextlib

from gateway.convert.json_fields import to_text
from gateway.responses.objects import asked_of, written
from gateway.services.storage import StorageClient
from jan.errors import ConflictError, NotFoundError
from jan.storage.v1 import messages_pb2, paging_pb2, runs_pb2


async def remove(storage: StorageClient, run: runs_pb2.Run) -> None:
    """Remove a response that has ended: its messages first, so that whoever is interrupted can do it again.

    What it said in a conversation stays there. A thread that holds nothing any more goes into the trash. Raises
    NotFoundError: somebody else removed it.
    """
    asked = asked_of(run)
    if not asked["in_conversation"]:
        turn = [*asked["input"], *(message.id for message in await written(storage, run))]
        for message_id in turn:
            with contextlib.suppress(NotFoundError):
                await storage.delete_message(run.thread_id, message_id)
        if await _is_empty(storage, run.thread_id):
            await storage.delete_thread(run.thread_id)
            return
    while True:
        run.response_json = to_text({"deleted": True})
        try:
            await storage.update_run(run)
            return
        except ConflictError:
            run = await storage.get_run(run.thread_id, run.id)
            asked_of(run)


async def _is_empty(storage: StorageClient, thread_id: str) -> bool:
    one = messages_pb2.ListMessagesRequest(thread_id=thread_id, page=paging_pb2.PageRequest(page_size=1))
    return not (await storage.list_messages(one)).messages

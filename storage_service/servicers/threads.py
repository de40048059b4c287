"""ThreadService over the store."""

import contextlib
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from grpc import aio

from jan.errors import InvalidArgumentError, NotFoundError
from jan.ids import AssistantId, ThreadId
from jan.storage.v1 import threads_pb2 as pb
from jan.storage.v1.threads_pb2_grpc import ThreadServiceServicer
from storage_service.access import Access
from storage_service.search import Search
from storage_service.servicers import messages, values
from storage_service.store import trash
from storage_service.store.records import JsonObject, Thread, ThreadAssistant, ThreadModel
from storage_service.store.runs import ActiveRun
from storage_service.store.search import Hit
from storage_service.store.seed import DEFAULT_ASSISTANT
from storage_service.store.store import Store

Context = aio.ServicerContext[Any, Any]

# The record's field for each path of an update mask.
_FIELDS = {
    "title": "title",
    "metadata_json": "metadata",
    "tool_resources_json": "tool_resources",
    "assistants": "assistants",
    "models": "models",
}
# The id of a thread that has none yet; the store replaces it.
_UNNAMED = ThreadId("")


class ThreadServicer(ThreadServiceServicer):
    """See threads.proto."""

    def __init__(self, access: Access, store: Store, search: Search) -> None:
        self._access = access
        self._store = store
        self._search = search

    async def CreateThread(self, request: pb.CreateThreadRequest, context: Context) -> pb.CreateThreadResponse:
        """See threads.proto."""
        assistant_id = AssistantId.parse(request.assistant_id or DEFAULT_ASSISTANT)
        wanted = ThreadId.parse(request.thread.id) if request.thread.id else None
        thread = from_proto(wanted or _UNNAMED, request.thread)
        first = [messages.from_proto(_UNNAMED, message) for message in request.messages]
        stored = await self._run(wanted, lambda: self._store.create_thread(assistant_id, thread, first))
        return pb.CreateThreadResponse(thread=to_proto(stored))

    async def GetThread(self, request: pb.GetThreadRequest, context: Context) -> pb.GetThreadResponse:
        """See threads.proto."""
        thread_id = ThreadId.parse(request.thread_id)
        thread = await self._access.run(lambda: self._store.threads.get(thread_id))
        return pb.GetThreadResponse(thread=to_proto(thread))

    async def ListThreads(self, request: pb.ListThreadsRequest, context: Context) -> pb.ListThreadsResponse:
        """See threads.proto."""
        query = values.page_query(request.page)
        page = await self._access.run(lambda: self._store.threads.page(query))
        return pb.ListThreadsResponse(threads=map(to_proto, page.items), has_more=page.has_more)

    async def SearchThreads(self, request: pb.SearchThreadsRequest, context: Context) -> pb.SearchThreadsResponse:
        """See threads.proto."""
        page = await self._search.page(request.query, values.page_query(request.page))
        matches = await self._access.run(lambda: [*map(self._match, page.items)])
        return pb.SearchThreadsResponse(matches=filter(None, matches), has_more=page.has_more)

    async def UpdateThread(self, request: pb.UpdateThreadRequest, context: Context) -> pb.UpdateThreadResponse:
        """See threads.proto."""
        thread_id = ThreadId.parse(request.thread.id)
        wanted = from_proto(thread_id, request.thread)
        paths = values.masked_paths(list(request.update_mask.paths), frozenset(_FIELDS))
        changes = {_FIELDS[path]: getattr(wanted, _FIELDS[path]) for path in paths}
        stored = await self._access.run_alone(
            thread_id,
            lambda: self._store.threads.change(
                thread_id, lambda thread: replace(thread, **changes), request.if_revision
            ),
        )
        return pb.UpdateThreadResponse(thread=to_proto(stored))

    async def DeleteThread(self, request: pb.DeleteThreadRequest, context: Context) -> pb.DeleteThreadResponse:
        """See threads.proto."""
        thread_id = ThreadId.parse(request.thread_id)
        ended = await self._access.run_alone(
            thread_id, lambda: self._store.delete_thread(thread_id, if_revision=request.if_revision)
        )
        return pb.DeleteThreadResponse(ended_runs=map(_ended_to_proto, ended))

    async def DeleteAllThreads(
        self, request: pb.DeleteAllThreadsRequest, context: Context
    ) -> pb.DeleteAllThreadsResponse:
        """See threads.proto. Each thread goes under its own lock; the folders are synced once."""
        deletion = self._store.trash.begin(trash.THREADS)
        ended: list[ActiveRun] = []
        count = 0
        try:
            for thread_id in await self._access.run(self._store.threads.order.ids):
                # Somebody was quicker, or put a link in its place: not a thread of ours any more.
                with contextlib.suppress(NotFoundError, InvalidArgumentError):
                    delete = partial(self._store.delete_thread, thread_id, deletion)
                    ended += await self._access.run_alone(thread_id, delete)
                    count += 1
        finally:
            await self._access.run(deletion.finish)
        return pb.DeleteAllThreadsResponse(
            trash_id=deletion.id or "", count=count, ended_runs=map(_ended_to_proto, ended)
        )

    async def ClearThread(self, request: pb.ClearThreadRequest, context: Context) -> pb.ClearThreadResponse:
        """See threads.proto."""
        thread_id = ThreadId.parse(request.thread_id)
        thread = await self._access.run_alone(thread_id, lambda: self._store.clear_thread(thread_id))
        return pb.ClearThreadResponse(thread=to_proto(thread))

    async def CloneThread(self, request: pb.CloneThreadRequest, context: Context) -> pb.CloneThreadResponse:
        """See threads.proto."""
        thread_id = ThreadId.parse(request.thread_id)
        title = request.title if request.HasField("title") else None
        new_id = ThreadId.parse(request.new_id) if request.new_id else None
        # A copy's id is never an older thread's, so nobody takes the two in the other order.
        copy = await self._access.run_alone(
            thread_id, lambda: self._store.clone_thread(thread_id, title, new_id), *([new_id] if new_id else [])
        )
        return pb.CloneThreadResponse(thread=to_proto(copy))

    async def _run(self, thread_id: ThreadId | None, work: Callable[[], Thread]) -> Thread:
        """Make a thread; one that has an id already in turn with whatever else is done to that."""
        if thread_id is None:
            return await self._access.run(work)
        return await self._access.run_alone(thread_id, work)

    def _match(self, hit: Hit) -> pb.ThreadMatch | None:
        """A hit with its thread; None when that went and the index does not know yet."""
        try:
            thread = self._store.threads.get(hit.thread_id)
        except NotFoundError:
            return None
        return pb.ThreadMatch(thread=to_proto(thread), message_id=hit.message_id, snippet=hit.snippet)


def to_proto(thread: Thread) -> pb.Thread:
    """A thread for the wire."""
    return pb.Thread(
        id=thread.id,
        created_at=values.timestamp(thread.created_ms),
        updated_at=values.timestamp(thread.updated_ms),
        title=thread.title,
        metadata_json=values.dump(thread.metadata),
        tool_resources_json=values.dump(thread.tool_resources),
        assistants=map(_assistant_to_proto, thread.assistants),
        revision=thread.revision,
        models=map(_model_to_proto, thread.models),
    )


def from_proto(thread_id: ThreadId, thread: pb.Thread) -> Thread:
    """A thread's changeable fields from the wire. Raises InvalidArgumentError: a bad assistant id or JSON text."""
    return Thread(
        id=thread_id,
        created_ms=0,
        updated_ms=0,
        title=thread.title,
        assistants=tuple(map(_assistant_from_proto, thread.assistants)),
        metadata=values.load_object(thread.metadata_json, "metadata"),
        tool_resources=values.load_optional_object(thread.tool_resources_json, "tool_resources"),
        models=tuple(map(_model_from_proto, thread.models)),
    )


def _assistant_to_proto(assistant: ThreadAssistant) -> pb.ThreadAssistant:
    return pb.ThreadAssistant(
        assistant_id=assistant.assistant_id,
        assistant_name=assistant.assistant_name,
        instructions=assistant.instructions,
        model_id=assistant.model_id,
        settings_json=_dump(assistant.settings),
        parameters_json=_dump(assistant.parameters),
    )


def _assistant_from_proto(assistant: pb.ThreadAssistant) -> ThreadAssistant:
    return ThreadAssistant(
        assistant_id=AssistantId.parse(assistant.assistant_id),
        assistant_name=assistant.assistant_name,
        instructions=assistant.instructions,
        model_id=assistant.model_id,
        settings=values.load_object(assistant.settings_json, "settings"),
        parameters=values.load_object(assistant.parameters_json, "parameters"),
    )


def _model_to_proto(model: ThreadModel) -> pb.ThreadModel:
    return pb.ThreadModel(id=model.id, settings_json=_dump(model.settings), parameters_json=_dump(model.parameters))


def _model_from_proto(model: pb.ThreadModel) -> ThreadModel:
    return ThreadModel(
        id=model.id,
        settings=values.load_object(model.settings_json, "settings"),
        parameters=values.load_object(model.parameters_json, "parameters"),
    )


def _dump(values_of: JsonObject) -> str:
    return values.dump(values_of) if values_of else ""


def _ended_to_proto(run: ActiveRun) -> pb.EndedRun:
    return pb.EndedRun(id=run.id, round=run.round)

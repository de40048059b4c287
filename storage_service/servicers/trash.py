"""TrashService over the store."""

from collections.abc import Callable
from typing import Any

from grpc import aio

from jan.ids import TrashId
from jan.storage.v1 import trash_pb2 as pb
from jan.storage.v1.trash_pb2_grpc import TrashServiceServicer
from storage_service.access import Access
from storage_service.servicers import values
from storage_service.servicers.models import LOCK as MODELS_LOCK
from storage_service.store.records import TrashEntry
from storage_service.store.store import Store

Context = aio.ServicerContext[Any, Any]

# One key for all restores and for emptying: they are rare, and one may be about what the other removes.
LOCK = ".trash"


class TrashServicer(TrashServiceServicer):
    """See trash.proto. `leave` has the service started again."""

    def __init__(self, access: Access, store: Store, leave: Callable[[], None]) -> None:
        self._leave = leave
        self._access = access
        self._store = store

    async def ListTrash(self, request: pb.ListTrashRequest, context: Context) -> pb.ListTrashResponse:
        """See trash.proto."""
        query = values.page_query(request.page)
        page = await self._access.run(lambda: self._store.trash.page(query))
        return pb.ListTrashResponse(entries=map(to_proto, page.items), has_more=page.has_more)

    async def RestoreTrash(self, request: pb.RestoreTrashRequest, context: Context) -> pb.RestoreTrashResponse:
        """See trash.proto."""
        trash_id = TrashId.parse(request.trash_id)
        # Cleared messages go back into a thread that may be written to meanwhile.
        changed = await self._access.run(lambda: self._store.trash.threads_changed_by(trash_id))
        if self._store.trash.holds_model(trash_id):
            changed = [MODELS_LOCK]
        with values.leaving_if_promised(context, self._store.restores, self._leave):
            entry = await self._access.run_alone(LOCK, lambda: self._store.restore(trash_id), *changed)
        return pb.RestoreTrashResponse(entry=to_proto(entry))

    async def DeleteTrash(self, request: pb.DeleteTrashRequest, context: Context) -> pb.DeleteTrashResponse:
        """See trash.proto."""
        trash_id = TrashId.parse(request.trash_id)
        await self._access.run_alone(LOCK, lambda: self._store.delete_trash(trash_id))
        return pb.DeleteTrashResponse()

    async def EmptyTrash(self, request: pb.EmptyTrashRequest, context: Context) -> pb.EmptyTrashResponse:
        """See trash.proto."""
        return pb.EmptyTrashResponse(count=await self._access.run_alone(LOCK, self._store.empty_trash))


def to_proto(entry: TrashEntry) -> pb.TrashEntry:
    """An entry for the wire."""
    return pb.TrashEntry(
        id=entry.id,
        kind=entry.kind,
        deleted_at=values.timestamp(entry.deleted_ms),
        expires_at=values.timestamp(entry.expires_ms),
        count=entry.count,
        items=[pb.TrashItem(id=item.id, title=item.title) for item in entry.items],
    )

"""A caller that leaves in the middle of a restore: nothing is promised, or the service leaves at once."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, cast

import pytest

from jan.errors import ConflictError
from jan.storage.v1 import archives_pb2, trash_pb2
from storage_service.access import Access
from storage_service.servicers.archives import ArchiveServicer
from storage_service.servicers.trash import TrashServicer
from storage_service.store.paging import PageQuery
from storage_service.store.restoring import swap
from storage_service.store.restoring.backup import Backup
from storage_service.store.restoring.restores import Restores
from storage_service.store.store import Store
from tests.storage_service.store.restoring.conftest import back_up, fill


class Context:
    """What the servicers ask of gRPC here: to be told when a call is over."""

    def __init__(self) -> None:
        self.done: list[Callable[[Any], None]] = []

    def add_done_callback(self, work: Callable[[Any], None]) -> None:
        self.done.append(work)


class Held:
    """Something that a worker does, held just before its end until a test lets it go on."""

    def __init__(self, patch: pytest.MonkeyPatch, where: object, name: str) -> None:
        self._reached = threading.Event()
        self._may_go = threading.Event()
        really = getattr(where, name)

        def held(*given: Any, **more: Any) -> Any:
            result = really(*given, **more)
            self._reached.set()
            assert self._may_go.wait(30)
            return result

        patch.setattr(where, name, held)

    async def leave_during(self, call: asyncio.Task[Any]) -> None:
        """Cancel a call while this is held, as gRPC does when the caller is gone, and see it to its end."""
        assert await asyncio.to_thread(self._reached.wait, 30)
        call.cancel()
        self._may_go.set()
        await asyncio.wait([call])
        assert call.cancelled()


class Storage:
    """The two servicers that restore, and how often they wanted to leave once their calls were over."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.left = 0
        self._access = Access(lambda _: None)
        self._archives = ArchiveServicer(self._access, self._access, store, self._leave)
        self._trash = TrashServicer(self._access, store, self._leave)

    def restore(self, data: bytes) -> asyncio.Task[archives_pb2.RestoreJanrootResponse]:
        async def parts() -> AsyncIterator[archives_pb2.RestoreJanrootRequest]:
            yield archives_pb2.RestoreJanrootRequest(data=data)
            yield archives_pb2.RestoreJanrootRequest(end=archives_pb2.EndOfBackup())

        context = Context()
        return self._called(self._archives.RestoreJanroot(parts(), cast(Any, context)), context)

    def undo(self, trash_id: str) -> asyncio.Task[trash_pb2.RestoreTrashResponse]:
        context = Context()
        request = trash_pb2.RestoreTrashRequest(trash_id=trash_id)
        return self._called(self._trash.RestoreTrash(request, cast(Any, context)), context)

    async def close(self) -> None:
        await self._access.close()
        await asyncio.to_thread(self.store.close)

    def _called(self, handler: Any, context: Context) -> asyncio.Task[Any]:
        async def call() -> Any:
            try:
                return await handler
            finally:
                for work in context.done:
                    work(context)

        return asyncio.create_task(call(), name="call")

    def _leave(self) -> None:
        self.left += 1


@pytest.fixture
async def storage(tmp_path: Path) -> AsyncIterator[Storage]:
    def opened() -> Store:
        fill(tmp_path / "janroot", "old")
        return Store.open(tmp_path / "janroot")

    made = Storage(await asyncio.to_thread(opened))
    yield made
    await made.close()


@pytest.fixture
def backup(tmp_path: Path) -> bytes:
    fill(tmp_path / "other", "backup")
    return back_up(tmp_path / "other")


def titles(janroot: Path) -> set[str]:
    """Of the threads that an ordinary restart finds."""
    store = Store.open(janroot)
    found = {thread.title for thread in store.threads.page(PageQuery(limit=100)).items}
    store.close()
    return found


async def test_a_caller_that_leaves_while_it_is_unpacked_has_asked_for_nothing(
    storage: Storage, backup: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        await Held(patch, Backup, "unpack").leave_during(storage.restore(backup))
    assert storage.left == 0
    restoring = storage.store.layout.restoring
    assert not await asyncio.to_thread(restoring.exists)
    assert (await storage.restore(backup)).trash_id
    assert storage.left == 1


async def test_a_promise_whose_caller_left_is_kept_at_once(
    storage: Storage, backup: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    await Held(monkeypatch, Restores, "promise").leave_during(storage.restore(backup))
    assert storage.left == 1
    with pytest.raises(ConflictError):
        await storage.restore(backup)
    await storage.close()
    assert await asyncio.to_thread(titles, storage.store.layout.root) == {"backup"}


async def test_so_is_the_promise_of_an_undoing(
    storage: Storage, backup: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = await storage.restore(backup)
    await storage.close()
    again = Storage(await asyncio.to_thread(Store.open, tmp_path / "janroot"))
    await Held(monkeypatch, swap, "promise").leave_during(again.undo(told.trash_id))
    assert again.left == 1
    await again.close()
    assert await asyncio.to_thread(titles, tmp_path / "janroot") == {"old"}

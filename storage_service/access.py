"""The async door to the store: file work in a few threads, one writer per thread of conversation."""

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TypeVar

from storage_service.store.atomic import DiskFailedError

Result = TypeVar("Result")

# Measured: eight threads each appending to its own file reach three quarters of the disk's best rate.
WORKERS = 8


class Access:
    """Runs the store's functions off the event loop.

    `on_disk_failure` is called in the worker, before anybody is answered, when the disk loses what it took; it is
    expected to end the process.
    """

    def __init__(self, on_disk_failure: Callable[[DiskFailedError], None], workers: int = WORKERS) -> None:
        self._on_disk_failure = on_disk_failure
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="janroot")
        self._locks: dict[str, _Lock] = {}

    async def run(self, work: Callable[[], Result]) -> Result:
        """Do file work that needs no lock: a read, or the making of something nobody else knows yet."""
        return await self._finish(work)

    async def run_alone(self, key: str, work: Callable[[], Result], *further: str) -> Result:
        """Do file work that changes what `key` names, after all earlier such work, in order of arrival.

        `further` keys are taken after it; whoever takes two must take them in the same order as everybody. A caller
        that is cancelled while it waits does nothing; once begun, the work ends before the lock is free.
        """
        async with AsyncExitStack() as held:
            for name in (key, *further):
                await held.enter_async_context(self._hold(name))
            return await self._finish(work)

    async def close(self) -> None:
        """Wait for the work under way; nothing may be asked afterwards."""
        await asyncio.to_thread(self._pool.shutdown)

    async def _finish(self, work: Callable[[], Result]) -> Result:
        """The work's result. Cancellation is obeyed when the work is done: half a write is no write."""
        future = asyncio.get_running_loop().run_in_executor(self._pool, self._guarded, work)
        cancelled: asyncio.CancelledError | None = None
        while not future.done():
            try:
                await asyncio.wait([future])
            except asyncio.CancelledError as error:
                cancelled = error
        if cancelled is not None:
            future.exception()  # Nobody is left to hear of it.
            raise cancelled
        return future.result()

    def _guarded(self, work: Callable[[], Result]) -> Result:
        try:
            return work()
        except DiskFailedError as error:
            self._on_disk_failure(error)
            raise

    @asynccontextmanager
    async def _hold(self, key: str) -> AsyncIterator[None]:
        lock = self._locks.setdefault(key, _Lock())
        lock.users += 1
        try:
            async with lock:
                yield
        finally:
            lock.users -= 1
            if lock.users == 0:
                del self._locks[key]


class _Lock(asyncio.Lock):
    """A lock that counts who holds it or waits, so that the last one can throw it away."""

    users = 0

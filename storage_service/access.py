"""The async door to the store: file work in a few threads, one writer per thread of conversation."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from typing import Any, TypeVar

from jan.errors import JanError
from storage_service.store.atomic import DiskFailedError
from storage_service.turns import Batch, Lines, Turn

Request = TypeVar("Request")
Result = TypeVar("Result")

# Measured: eight threads each appending to its own file reach three quarters of the disk's best rate.
WORKERS = 8


class Access:
    """Runs the store's functions off the event loop, each after `guard`, which sees that it may.

    `on_disk_failure` is called in the worker, before anybody is answered, when the disk loses what it took; it is
    expected to end the process.
    """

    def __init__(
        self,
        on_disk_failure: Callable[[DiskFailedError], None],
        workers: int = WORKERS,
        guard: Callable[[], None] = lambda: None,
    ) -> None:
        self._on_disk_failure = on_disk_failure
        self._guard = guard
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="janroot")
        self._lines = Lines()
        self._batches: set[asyncio.Task[Any]] = set()

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
                await held.enter_async_context(self._lines.in_turn(name, self._lines.join(name, Turn())))
            return await self._finish(work)

    async def run_together(
        self, key: str, request: Request, work: Callable[[Sequence[Request]], Sequence[Result | JanError]]
    ) -> Result:
        """Do what `run_alone` does, in one call for all requests that wait one behind the other.

        `work` is the same for all who share a key. It takes their requests in order of arrival and answers for each
        its result or its error; what it raises is everybody's. A caller that is cancelled while it waits disturbs
        nobody, and its request is left out; once begun, the work ends whoever leaves.
        """
        batch: Batch[Request, Result] = self._lines.open_batch(key) or self._start_batch(key, work)
        return await batch.add(request)

    async def close(self) -> None:
        """Wait for the work under way; nothing may be asked afterwards."""
        await asyncio.gather(*self._batches, return_exceptions=True)
        await asyncio.to_thread(self._pool.shutdown)

    def _start_batch(
        self, key: str, work: Callable[[Sequence[Request]], Sequence[Result | JanError]]
    ) -> Batch[Request, Result]:
        batch = self._lines.join(key, Batch[Request, Result]())
        task = asyncio.create_task(self._run_batch(key, batch, work), name=f"work together on {key}")
        self._batches.add(task)
        task.add_done_callback(self._batches.discard)
        task.add_done_callback(batch.tell)
        return batch

    async def _run_batch(
        self, key: str, batch: Batch[Request, Any], work: Callable[[Sequence[Request]], Sequence[Result]]
    ) -> Sequence[Result]:
        async with self._lines.in_turn(key, batch):
            requests = batch.begin()
            return await self._finish(lambda: work(requests)) if requests else ()

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
        try:
            return future.result()
        finally:
            del future  # Or its error would hold it, through the traceback, and all that the caller holds.

    def _guarded(self, work: Callable[[], Result]) -> Result:
        try:
            self._guard()
            return work()
        except DiskFailedError as error:
            self._on_disk_failure(error)
            raise

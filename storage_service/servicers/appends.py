"""The messages that come over one stream: a task each, and outcomes that are told as they are reached."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable

from jan.rpc_errors import to_tell
from jan.storage.limits import MOST_APPEND_BYTES, MOST_APPENDS
from jan.storage.v1 import messages_pb2 as pb
from jan.telemetry import request_id_var

Append = Callable[[pb.Message], Awaitable[pb.Message]]


class AppendStream:
    """One stream of appends. `append` stores a message and answers it as stored; what it raises is its outcome.

    Reads no further while too much is unanswered, and not at all once `stop` is set.
    """

    def __init__(self, append: Append, stop: asyncio.Event) -> None:
        self._append = append
        self._stop = stop
        self._running: dict[int, asyncio.Task[pb.AppendOutcome]] = {}
        self._bytes = 0
        self._outcomes: list[pb.AppendOutcome] = []
        self._changed = asyncio.Event()
        self._room = asyncio.Event()

    async def outcomes(
        self, requests: AsyncIterable[pb.AppendMessagesRequest]
    ) -> AsyncGenerator[pb.AppendMessagesResponse, None]:
        """Append what comes; those outcomes that gather while others are told go together.

        Ends when all is answered and nothing more comes. Closed before, it takes back what has not begun.
        """
        listening = asyncio.create_task(self._listen(requests), name="listen for appends")
        listening.add_done_callback(lambda _: self._changed.set())
        stopping = asyncio.create_task(self._stop.wait(), name="end appends in time")
        stopping.add_done_callback(lambda _: listening.cancel())
        try:
            while self._running or self._outcomes or not listening.done():
                await self._changed.wait()
                self._changed.clear()
                if self._outcomes:
                    told, self._outcomes = self._outcomes, []
                    yield pb.AppendMessagesResponse(outcomes=told)
            if not listening.cancelled():
                listening.result()
        finally:
            # All at once: what waits behind another must not begin because that one left.
            tasks = [listening, stopping, *self._running.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _listen(self, requests: AsyncIterable[pb.AppendMessagesRequest]) -> None:
        async for request in requests:
            for number in request.withdrawn:
                if number in self._running:
                    self._running[number].cancel()
            for append in request.appends:
                size = append.message.ByteSize()
                await self._find_room(size)
                self._start(append, size)

    async def _find_room(self, size: int) -> None:
        """A gateway that keeps to the limits never waits here, and its withdrawals are heard."""
        while self._running and (len(self._running) >= MOST_APPENDS or self._bytes + size > MOST_APPEND_BYTES):
            self._room.clear()
            await self._room.wait()

    def _start(self, append: pb.MessageAppend, size: int) -> None:
        task = asyncio.create_task(self._run(append), name="append a message")
        self._running[append.number] = task
        self._bytes += size
        task.add_done_callback(lambda done: self._finish(append.number, size, done))

    async def _run(self, append: pb.MessageAppend) -> pb.AppendOutcome:
        request_id_var.set(append.request_id)
        try:
            return pb.AppendOutcome(number=append.number, message=await self._append(append.message))
        except Exception as error:  # noqa: BLE001  part of the RPC's edge, see jan.rpc_errors: the caller is told
            return pb.AppendOutcome(number=append.number, error=to_tell(error, "AppendMessages").to_detail())

    def _finish(self, number: int, size: int, done: "asyncio.Task[pb.AppendOutcome]") -> None:
        del self._running[number]
        self._bytes -= size
        self._outcomes.append(pb.AppendOutcome(number=number) if done.cancelled() else done.result())
        self._room.set()
        self._changed.set()

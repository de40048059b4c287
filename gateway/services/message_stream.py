"""Messages on their way to storage over one stream that stays open: many cost little more than one."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from grpc import aio

from jan import rpc, rpc_errors
from jan.backoff import Backoff
from jan.errors import JanError
from jan.storage.limits import LONGEST_APPEND_BYTES, MOST_APPEND_BYTES, MOST_APPENDS
from jan.storage.v1 import messages_pb2
from jan.storage.v1.messages_pb2_grpc import MessageServiceStub
from jan.tasks import background
from jan.telemetry import get_logger, request_id_var

logger = get_logger(__name__)

Call = aio.StreamStreamCall[messages_pb2.AppendMessagesRequest, messages_pb2.AppendMessagesResponse]

# What one message of the stream holds: it is whole in memory on both sides.
_TOGETHER_BYTES = 1024 * 1024
_LONGEST_WAIT_SECONDS = 5.0


@dataclass(slots=True)
class _Item:
    """A message and where its outcome will be; None: the stream ended without one."""

    message: messages_pb2.Message
    request_id: str
    size: int
    outcome: asyncio.Future[messages_pb2.AppendOutcome | None]


class MessageStream:
    """The stream. It is opened behind the first message, and again behind the first one after it broke."""

    def __init__(self, stub: MessageServiceStub) -> None:
        self._stub = stub
        self._numbers = itertools.count(1)
        # Everything unanswered, and the part of it that is not sent yet.
        self._items: dict[int, _Item] = {}
        self._unsent: dict[int, _Item] = {}
        self._withdrawn: list[int] = []
        self._bytes = 0
        self._wanted = asyncio.Event()
        self._more = asyncio.Event()
        self.is_open = False

    def __len__(self) -> int:
        """How many messages are unanswered."""
        return len(self._items)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """The stream may be opened while this is; what is unanswered at its end is given back."""
        async with background(self._keep_open(), "message stream"):
            yield

    async def append(self, message: messages_pb2.Message) -> messages_pb2.Message | None:
        """Append a message, and answer it as stored. Raises what `rpc.call` of CreateMessage would raise.

        None: the stream does not take it, or broke before it was answered. The caller asks by CreateMessage then,
        which is harmless when it was done.
        """
        self._wanted.set()
        size = message.ByteSize()
        if not self._takes(size):
            return None
        number = next(self._numbers)
        item = _Item(message, request_id_var.get(), size, asyncio.get_running_loop().create_future())
        self._items[number] = self._unsent[number] = item
        self._bytes += size
        self._more.set()
        try:
            async with asyncio.timeout(rpc.DEFAULT_DEADLINE_SECONDS):
                outcome = await item.outcome
        except TimeoutError:
            raise rpc_errors.not_in_time() from None
        finally:
            if item.outcome.cancelled():
                self._withdraw(number)
        if outcome is None:
            return None
        if outcome.HasField("error"):
            raise JanError.from_detail(outcome.error)
        return outcome.message

    def _takes(self, size: int) -> bool:
        return (
            self.is_open
            and size <= LONGEST_APPEND_BYTES
            and len(self._items) < MOST_APPENDS
            and self._bytes + size <= MOST_APPEND_BYTES
        )

    def _withdraw(self, number: int) -> None:
        """Nobody waits for it any more. What was sent keeps its room until storage says that it let go."""
        if self._unsent.pop(number, None) is not None:
            self._forget(number)
        elif number in self._items:
            self._withdrawn.append(number)
            self._more.set()

    def _forget(self, number: int) -> _Item | None:
        item = self._items.pop(number, None)
        if item is not None:
            self._bytes -= item.size
        return item

    async def _keep_open(self) -> None:
        backoff = Backoff(most_seconds=_LONGEST_WAIT_SECONDS)
        while True:
            await self._wanted.wait()
            try:
                await self._converse(backoff)
            except (aio.AioRpcError, asyncio.InvalidStateError) as error:
                logger.info("message stream broke", reason=str(error)[:200])
            await backoff.wait()
            self._wanted.clear()

    async def _converse(self, backoff: Backoff) -> None:
        """Open the stream, and send and hear until it ends."""
        running = self._stub.AppendMessages()
        try:
            if rpc.ACCEPTED not in tuple(await running.initial_metadata() or ()):
                return
            backoff.reset()
            self.is_open = True
            async with background(self._send(running), "send messages"):
                async for response in running:
                    for outcome in response.outcomes:
                        self._tell(outcome)
        finally:
            self.is_open = False
            running.cancel()
            self._give_back()

    async def _send(self, running: Call) -> None:
        while True:
            await self._more.wait()
            self._more.clear()
            while self._unsent or self._withdrawn:
                await running.write(self._next_request())

    def _next_request(self) -> messages_pb2.AppendMessagesRequest:
        """What gathered while the last one was written, as far as it goes into one."""
        request = messages_pb2.AppendMessagesRequest(withdrawn=self._withdrawn)
        self._withdrawn.clear()
        size = 0
        while self._unsent and size < _TOGETHER_BYTES:
            number = next(iter(self._unsent))
            item = self._unsent.pop(number)
            if item.outcome.done():  # Its caller left just now.
                self._forget(number)
                continue
            request.appends.add(number=number, request_id=item.request_id, message=item.message)
            size += item.size
        return request

    def _tell(self, outcome: messages_pb2.AppendOutcome) -> None:
        item = self._forget(outcome.number)
        if item is not None and not item.outcome.done():
            item.outcome.set_result(outcome)

    def _give_back(self) -> None:
        """The stream ended: let everybody who waits ask by themselves."""
        for item in self._items.values():
            if not item.outcome.done():
                item.outcome.set_result(None)
        self._items.clear()
        self._unsent.clear()
        self._withdrawn.clear()
        self._bytes = 0

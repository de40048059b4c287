"""Publishing many logs at once: what several answers say in one moment travels to Redis in one write.

An engine gives a token to every answer at each of its steps. A write for each would cost Redis, its readers and this
process a wake-up for each; together they cost hardly more than one. So a write waits until every answer that speaks has
said something, for a few milliseconds at most (Kafka's producers call that `linger`). A lone answer thus never waits,
and neither do the first words of any, or a whole answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from redis.exceptions import RedisError

from jan.backoff import Backoff
from jan.queue.leases import Lease, LeaseLostError
from jan.queue.log import LogWrite, append
from jan.queue.scripts import Scripts
from jan.tasks import background
from jan.telemetry import get_logger

logger = get_logger(__name__)

# Nobody sees whether a word comes so much later.
LINGER_SECONDS = 0.01
# A log that Redis refuses for a reason of its own is tried again after this time; the others do not wait for it.
RETRY_SECONDS = 0.5
# What an answer may say ahead of Redis, before its engine has to wait.
MOST_UNWRITTEN_BYTES = 64 * 1024


class LogPublisher:
    """Writes the events of all logs that were opened here, each in order; made once for a process, run by `running`.

    A Redis that is away loses nothing: the same events are written again until it is known that they stand there.
    """

    def __init__(
        self, scripts: Scripts, *, linger_seconds: float = LINGER_SECONDS, retry_seconds: float = RETRY_SECONDS
    ) -> None:
        self._scripts = scripts
        self._linger_seconds = linger_seconds
        self._retry_seconds = retry_seconds
        self._speaking: set[PublishedLog] = set()
        self._waiting: dict[PublishedLog, None] = {}
        self._due = asyncio.Event()
        self._linger: asyncio.TimerHandle | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Write in the background while the context is open."""
        async with background(self._write_for_ever(), "log-publisher"):
            yield

    def open(self, lease: Lease, *, published: int = 0) -> PublishedLog:
        """A log to write under this lease, behind the `published` events of earlier holders."""
        return PublishedLog(self, lease, published)

    def want(self, log: PublishedLog, *, urgent: bool) -> None:
        """Have what the log says written: soon or, if it is urgent, now."""
        self._speaking.add(log)
        self._waiting[log] = None
        if urgent or len(self._waiting) >= len(self._speaking):
            self._due.set()
        elif self._linger is None:
            self._linger = asyncio.get_running_loop().call_later(self._linger_seconds, self._due.set)

    def forget(self, log: PublishedLog) -> None:
        """The log says nothing more."""
        self._speaking.discard(log)
        self._waiting.pop(log, None)

    async def _write_for_ever(self) -> None:
        backoff = Backoff()
        while True:
            await self._due.wait()
            logs = self._take_waiting()
            try:
                await self._write(logs)
                backoff.reset()
            except (RedisError, OSError) as error:
                logger.warning("Redis is away, answers wait", answers=len(logs), error=str(error))
                await self._again(logs, backoff)
            except Exception:  # every answer depends on this loop: it outlives a mistake
                logger.exception("answers could not be written")
                await self._again(logs, backoff)

    def _take_waiting(self) -> list[PublishedLog]:
        self._due.clear()
        if self._linger is not None:
            self._linger.cancel()
            self._linger = None
        logs, self._waiting = list(self._waiting), {}
        return logs

    async def _write(self, logs: Sequence[PublishedLog]) -> None:
        """One round trip for all. Raises redis.RedisError, OSError: unknown what was written."""
        writes = [log.next_write() for log in logs]
        troubles = await append(self._scripts, writes) if writes else []
        for log, write, trouble in zip(logs, writes, troubles, strict=True):
            if isinstance(trouble, RedisError):
                logger.warning("a log cannot be written", log=write.lease.id, error=str(trouble))
                asyncio.get_running_loop().call_later(self._retry_seconds, log.retry)
            else:
                log.note(write, trouble)

    async def _again(self, logs: Sequence[PublishedLog], backoff: Backoff) -> None:
        """Want all of it again, after a while."""
        await backoff.wait()
        for log in logs:
            log.retry()


class PublishedLog:
    """One log in the hands of its lease's holder. Events are written in order, each once, however often it is tried."""

    def __init__(self, publisher: LogPublisher, lease: Lease, published: int) -> None:
        self._publisher = publisher
        self._lease = lease
        self._first = published + 1
        self._unwritten: list[bytes] = []
        self._unwritten_bytes = 0
        self._ends = False
        self._spent_tokens: int | None = None
        self._is_whole = True
        self._begun = self._closed = False
        self._lost: LeaseLostError | None = None
        self._settled = asyncio.Event()
        self._settled.set()

    async def say(self, payloads: Sequence[bytes]) -> None:
        """Hand over events, which are written at once if they are the first; waits only while much is unwritten.

        Raises LeaseLostError: see `jan.queue.log.append`; what was handed over before was perhaps refused as well.
        """
        self._take_over(payloads)
        if self._unwritten_bytes > MOST_UNWRITTEN_BYTES:
            await self.flush()

    async def end(self, payloads: Sequence[bytes], *, spent_tokens: int | None = None, is_whole: bool = True) -> None:
        """Hand over the last events, and return when they are written. A caller who leaves takes nothing back.

        spent_tokens, is_whole: see `LogWrite`. Raises LeaseLostError.
        """
        self._ends, self._spent_tokens, self._is_whole = True, spent_tokens, is_whole
        self._take_over(payloads)
        await self.flush()

    async def flush(self) -> None:
        """Return when everything is written that was handed over. Raises LeaseLostError."""
        await self._settled.wait()
        if self._lost is not None:
            raise self._lost

    def close(self) -> None:
        """Write nothing more; what is under way to Redis may still arrive."""
        self._closed = True
        self._publisher.forget(self)

    def next_write(self) -> LogWrite:
        """All that is unwritten."""
        payloads = tuple(self._unwritten)
        return LogWrite(self._lease, self._first, payloads, self._ends, self._spent_tokens, self._is_whole)

    def note(self, write: LogWrite, lost: LeaseLostError | None) -> None:
        """Learn that a write was made, or refused for good."""
        count = len(write.payloads)
        self._first += count
        self._unwritten_bytes -= sum(map(len, write.payloads))
        del self._unwritten[:count]
        self._lost = lost
        if lost is not None or not self._unwritten:
            self._settled.set()
        if lost is not None or write.ends:
            self._publisher.forget(self)

    def retry(self) -> None:
        """Have it written now, if it is still to be written."""
        if self._unwritten and not self._closed:
            self._publisher.want(self, urgent=True)

    def _take_over(self, payloads: Sequence[bytes]) -> None:
        if self._lost is not None:
            raise self._lost
        is_first, self._begun = not self._begun, True
        self._unwritten += payloads
        self._unwritten_bytes += sum(map(len, payloads))
        self._settled.clear()
        self._publisher.want(self, urgent=is_first)

"""Waiting for a stored response: its run's events as they come, or its end."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

import orjson

from gateway.convert.runs import status_name
from gateway.runs import states
from gateway.runs.executor import RunExecutor
from gateway.runs.log import SILENCE_SECONDS
from gateway.runs.retelling import Batches
from gateway.schemas.common import JsonObject
from gateway.services.storage import StorageClient
from jan.backoff import Backoff
from jan.errors import DeadlineExceededError, UnavailableError
from jan.queue.follower import LogFollower
from jan.queue.subscription import LogRestartedError, LogSubscription, SlowReaderError
from jan.storage.v1 import runs_pb2

Event = tuple[str, JsonObject]
_RUN = "thread.run."
# How long a log is silent before the record is looked at: what is told meanwhile is news of the queue.
_LOOK_SECONDS = SILENCE_SECONDS / 2
ENDS = frozenset(f"{_RUN}{status_name(status)}" for status in states.TERMINAL)
"""The names of the events of a run's end."""


async def until_over(
    storage: StorageClient, follower: LogFollower, runs: RunExecutor, run: runs_pb2.Run, *, starts: bool = False
) -> runs_pb2.Run:
    """Wait until a response has ended; answers its run. starts: it was accepted by the caller."""
    backoff = Backoff()
    while run.status in states.ACTIVE:
        async with follower.follow(run.id, waits_for_redis=True) as subscription:
            if starts:
                await runs.start(run)
            try:
                async for batch in events_of(storage, run, silences_told(subscription)):
                    if any(name in ENDS or name == "error" for name, _ in batch):
                        break
            except (LogRestartedError, SlowReaderError):
                pass  # it is told anew: so it is listened to anew
        starts = False
        run = await storage.get_run(run.thread_id, run.id)
        if run.status in states.ACTIVE:
            await backoff.wait()  # its log has ended all the same, as after a restored backup
    return run


def silences_told(subscription: LogSubscription) -> Batches:
    """What a run's log says; an empty list when it was silent for `SILENCE_SECONDS`."""
    return subscription.batches(SILENCE_SECONDS)


async def events_of(storage: StorageClient, run: runs_pb2.Run, batches: Batches) -> AsyncIterator[Sequence[Event]]:
    """A run's events as they come; none where `batches` has none. Ends with that of its end.

    A gateway may have died between the record of the end and its event: after two silences the record counts.
    """
    silent_end, looked_at = False, time.monotonic()
    async for batch in batches:
        if batch:
            yield [_parsed(entry.payload) for entry in batch]
            looked_at = time.monotonic()
            continue
        if time.monotonic() - looked_at < _LOOK_SECONDS:
            yield []
            continue
        looked_at = time.monotonic()
        current = await _as_it_is(storage, run)
        if current.status in states.TERMINAL and silent_end:
            yield [(f"{_RUN}{status_name(current.status)}", {})]
            return
        silent_end = current.status in states.TERMINAL
        yield []


async def _as_it_is(storage: StorageClient, run: runs_pb2.Run) -> runs_pb2.Run:
    """The run as it is now, or as it was while storage is away. Raises NotFoundError."""
    try:
        return await storage.get_run(run.thread_id, run.id)
    except (UnavailableError, DeadlineExceededError):
        return run


def _parsed(payload: bytes) -> Event:
    """The name and the data of one of a run's frames."""
    head, _, rest = payload.partition(b"\n")
    data: Any = rest.removeprefix(b"data: ").strip()
    return head.removeprefix(b"event: ").decode(), {} if data == b"[DONE]" else orjson.loads(data)

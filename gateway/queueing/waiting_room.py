"""What a client hears while its job waits: its place and time, in comments and headers."""

from __future__ import annotations

import math
import time
from collections.abc import AsyncIterator

from aiohttp import web

from gateway.http.sse import KEEP_ALIVE, KEEP_ALIVE_SECONDS, NUMBERED_KEEP_ALIVE
from gateway.keys import QUEUE
from gateway.queueing.jobs import JobEvents
from gateway.queueing.places import LOOK_SECONDS
from gateway.queueing.resumption import wants_numbers
from jan.errors import UnavailableError
from jan.inference.v1 import jobs_pb2
from jan.queue.look import WaitingJob

POSITION = "X-Janroot-Queue-Position"
ETA = "X-Janroot-Queue-ETA"


class WaitingRoom:
    """One client and its job. A client whose job begins within a second hears nothing of the queue."""

    def __init__(self, request: web.Request, job_id: str) -> None:
        self.numbers = wants_numbers(request)
        """Whether the client wants its events numbered."""
        self._queue = request.app[QUEUE]
        self._job_id = job_id
        self._told_at = time.monotonic()
        self._place: WaitingJob | None = None
        self.headers: dict[str, str] = {}
        """Where the job stood when it was first seen to wait; empty for one that did not."""

    async def batches(self, events: JobEvents) -> AsyncIterator[list[jobs_pb2.JobEvent]]:
        """What the job says; an empty list when there is a comment to tell. Raises as `JobEvents.batches` does."""
        async for batch in events.batches(LOOK_SECONDS):
            if batch:
                self._place = None
                yield batch
                break
            if await self._moved() or time.monotonic() - self._told_at >= KEEP_ALIVE_SECONDS:
                self._told_at = time.monotonic()
                yield batch
        if not events.ended:
            async for batch in events.batches(KEEP_ALIVE_SECONDS):
                yield batch

    @property
    def comment(self) -> bytes:
        """A comment of server-sent events: the place in the queue, or that the connection lives."""
        if self._place is None:
            return NUMBERED_KEEP_ALIVE if self.numbers else KEEP_ALIVE
        place = " ".join(f"{name}={value}" for name, value in _told(self._place).items())
        return f": queued {place}\n".encode() + (b"" if self.numbers else b"\n")

    async def look(self) -> bytes:
        """Look where the job stands now, and say it in a comment."""
        await self._moved()
        return self.comment

    async def _moved(self) -> bool:
        """Look where the job stands; whether there is news. A queue that does not answer has none."""
        before = self._place and _told(self._place)
        try:
            self._place = (await self._queue.look()).by_id.get(self._job_id)
        except UnavailableError:
            return False
        if self._place is None:
            return False
        place = _told(self._place)
        if not self.headers:
            self.headers = {{"position": POSITION, "eta": ETA}[name]: str(value) for name, value in place.items()}
        return place != before


def _told(place: WaitingJob) -> dict[str, int]:
    """A place as it is told, in whole seconds."""
    told = {"position": place.position}
    return told if place.eta_seconds is None else told | {"eta": math.ceil(place.eta_seconds)}

"""What a client hears while its job waits: its place and time, in comments and headers, and how its model loads."""

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
from jan.queue.waits import Wait

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
        self._told = ""
        self._word = ""
        self.headers: dict[str, str] = {}
        """Where the job stood when it was first seen to wait; empty for one that did not."""

    async def batches(self, events: JobEvents) -> AsyncIterator[list[jobs_pb2.JobEvent]]:
        """What the job says; an empty list when there is a comment to tell. Raises as `JobEvents.batches` does."""
        async for batch in events.batches(LOOK_SECONDS):
            if batch:
                self._word = ""
                yield batch
                break
            if await self.has_news():
                yield batch
        if not events.ended:
            async for batch in events.batches(KEEP_ALIVE_SECONDS):
                yield batch

    @property
    def comment(self) -> bytes:
        """A comment of server-sent events: the place in the queue, the model's load, or that the connection lives."""
        self._told = self._word
        if not self._word:
            return NUMBERED_KEEP_ALIVE if self.numbers else KEEP_ALIVE
        return f": {self._word}\n".encode() + (b"" if self.numbers else b"\n")

    async def has_news(self) -> bool:
        """Look where the job stands now; whether there is a comment to tell: news, or that the connection lives."""
        now = time.monotonic()
        if await self._moved() or now - self._told_at >= KEEP_ALIVE_SECONDS:
            self._told_at = now
            return True
        return False

    async def _moved(self) -> bool:
        """Look where the job stands; whether there is news. A queue that does not answer has none."""
        try:
            snapshot = await self._queue.look()
        except UnavailableError:
            return False
        place, wait = snapshot.by_id.get(self._job_id), snapshot.held.get(self._job_id)
        if place is not None:
            told = _place_told(place)
            words = ["queued", *(f"{name}={value}" for name, value in told.items())]
            self._word = " ".join(words if place.wait is None else [*words, f"model={_wait_told(place.wait)}"])
            if not self.headers:
                self.headers = {{"position": POSITION, "eta": ETA}[name]: str(value) for name, value in told.items()}
        else:
            self._word = "" if wait is None else _wait_told(wait)
        return bool(self._word) and self._word != self._told


def _place_told(place: WaitingJob) -> dict[str, int]:
    """A place as it is told, in whole seconds."""
    told = {"position": place.position}
    return told if place.eta_seconds is None else told | {"eta": math.ceil(place.eta_seconds)}


def _wait_told(wait: Wait) -> str:
    """What jobs wait for in a worker's hands: a word, the percent if known, and to the line's end what is done."""
    words = [str(wait.kind)]
    if wait.progress is not None:
        words.append(f"progress={wait.progress:.0%}".removesuffix("%"))
    if wait.activity:
        words.append("activity=" + " ".join(wait.activity.split()))
    return " ".join(words)

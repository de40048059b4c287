"""A host with some slots, in virtual time: takes from the real scripts, and each job runs as long as the test says."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from jan.inference.v1 import jobs_pb2
from jan.queue.jobs import JobQueue, TakenJob
from jan.queue.log import LogWriter
from tests.jan.queue.virtual import VirtualTime


@dataclass
class SimulatedHost:
    """`duration_ms` and `spent` say how long a job really takes, and how many tokens. `not_here`: models of others."""

    time: VirtualTime
    queue: JobQueue
    slots: int
    duration_ms: Callable[[jobs_pb2.Job], int]
    spent: Callable[[jobs_pb2.Job], int] = lambda job: job.cost_tokens
    on_start: Callable[[jobs_pb2.Job], None] = lambda _: None
    not_here: Collection[str] = ()
    now_ms: int = 0
    started_ms: dict[str, int] = field(default_factory=dict)
    tokens: Counter[str] = field(default_factory=Counter)
    _running: list[tuple[int, int, TakenJob]] = field(default_factory=list)

    async def work_until(self, end_ms: int) -> None:
        """Fill free slots, end what is over, and so on until the time comes."""
        await self._fill()
        while self._running and self._running[0][0] <= end_ms:
            self.now_ms, _, taken = heapq.heappop(self._running)
            await self.time.be(self.now_ms)
            spent = self.spent(taken.job)
            self.tokens[taken.job.tenant] += spent
            await LogWriter(self.time.scripts, taken.lease).publish([b"end"], ends=True, spent_tokens=spent)
            await self._fill()
        self.now_ms = end_ms
        await self.time.be(end_ms)

    async def _fill(self) -> None:
        while len(self._running) < self.slots:
            taken = await self.queue.take(self.not_here)
            if taken is None:
                return
            self.started_ms[taken.job.id] = self.now_ms
            self.on_start(taken.job)
            end = self.now_ms + self.duration_ms(taken.job)
            heapq.heappush(self._running, (end, len(self.started_ms), taken))

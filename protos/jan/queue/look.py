"""Looking at the queue: who stands where, what runs, and when a waiting job will begin."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from jan.inference.configurations import model_of
from jan.queue.scripts import Scripts
from jan.queue.waits import Wait

Place = tuple[float, str]
"""What a job moves its tenant's virtual time by, and its id."""


@dataclass(frozen=True, slots=True)
class WaitingJob:
    """A job in a queue. `position` counts from 1 over all classes of its model; the estimate is None if unknown."""

    id: str
    tenant: str
    model_id: str
    priority: int
    position: int
    eta_seconds: float | None


@dataclass(frozen=True, slots=True)
class RunningJob:
    """A job in a worker's hands. `wait` is what it waits for before it is worked on, None for nothing."""

    id: str
    model_id: str
    wait: Wait | None = None


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast a model's jobs go: how long one takes, and for how long each of those that run has run."""

    job_seconds: float | None
    running_seconds: Sequence[float] = ()

    def starts(self) -> Iterator[float | None]:
        """After how many seconds the first, the second, … waiting job begins; None when nothing tells.

        A job begins when one ends. One that runs longer than usual is taken to end any moment; one that begins then
        takes the usual time.
        """
        if self.job_seconds is None or not self.running_seconds:
            while True:
                yield None
        ends = [max(0.0, self.job_seconds - seconds) for seconds in self.running_seconds]
        heapq.heapify(ends)
        while True:
            yield ends[0]
            heapq.heapreplace(ends, ends[0] + self.job_seconds)


@dataclass(frozen=True, slots=True)
class QueueSnapshot:
    """The queue at one moment, in the order in which it would be served if nothing more came."""

    waiting: Sequence[WaitingJob] = ()
    running: Sequence[RunningJob] = ()
    by_id: Mapping[str, WaitingJob] = field(default_factory=dict)
    held: Mapping[str, Wait] = field(default_factory=dict)
    """What jobs in workers' hands wait for, by id."""


async def look(scripts: Scripts) -> QueueSnapshot:
    """Look at the whole queue in one round trip. Raises redis.RedisError: Redis did not answer."""
    now, queues, running, paces = await scripts.look()
    started: dict[str, list[float]] = defaultdict(list)
    jobs: list[RunningJob] = []
    for member, since, waits in _triples(running):
        id_, _, key = member.decode().partition(" ")
        wait = Wait.from_bytes(waits) if waits else None
        jobs.append(RunningJob(id_, model_of(key), wait))
        started[key].append(max(0.0, now - float(since)) / 1000 if wait is None else 0.0)
    taken = {model.decode(): float(sum_ms) / float(count) / 1000 for model, count, sum_ms in _triples(paces) if count}
    waiting: list[WaitingJob] = []
    for key, lines in _lines_by_model(queues).items():
        waiting += _served(key, lines, Pace(taken.get(key), started[key]))
    held = {job.id: job.wait for job in jobs if job.wait is not None}
    return QueueSnapshot(waiting, jobs, {job.id: job for job in waiting}, held)


def service_order(lines: Mapping[str, tuple[float, Sequence[Place]]]) -> Iterator[tuple[str, str]]:
    """The tenants and ids of one queue's jobs in turn, from each tenant's virtual time and line."""
    turns = [(time, tenant, 0) for tenant, (time, places) in lines.items() if places]
    heapq.heapify(turns)
    while turns:
        time, tenant, index = turns[0]
        charge, id_ = lines[tenant][1][index]
        yield tenant, id_
        if index + 1 < len(lines[tenant][1]):
            heapq.heapreplace(turns, (time + charge, tenant, index + 1))
        else:
            heapq.heappop(turns)


def _served(key: str, classes: Mapping[int, Any], pace: Pace) -> Iterator[WaitingJob]:
    starts = pace.starts()
    position = 0
    for priority in sorted(classes):
        for tenant, id_ in service_order(classes[priority]):
            position += 1
            yield WaitingJob(id_, tenant, model_of(key), priority, position, next(starts))


def _lines_by_model(queues: Sequence[Any]) -> dict[str, dict[int, dict[str, tuple[float, list[Place]]]]]:
    found: dict[str, dict[int, dict[str, tuple[float, list[Place]]]]] = defaultdict(dict)
    for name, _, lines in _triples(queues):
        priority, _, key = name.decode().partition(":")
        found[key][int(priority)] = {
            tenant.decode(): (float(time), [_place(place) for place in places])
            for tenant, time, places in _triples(lines)
        }
    return found


def _place(member: bytes) -> Place:
    charge, _, id_ = member.decode().partition(" ")
    return float(charge), id_


def _triples(flat: Sequence[Any]) -> Iterator[tuple[Any, Any, Any]]:
    return zip(flat[::3], flat[1::3], flat[2::3], strict=True)

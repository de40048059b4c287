"""Looking at the queue: who stands where, what runs, and when a waiting job will begin."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from jan.inference.configurations import model_of
from jan.queue.bounds import EVEN, Weights
from jan.queue.scripts import Scripts
from jan.queue.waits import Wait, WaitKind

Place = tuple[float, str]
"""What a job moves its tenant's virtual time by, and its id."""


@dataclass(frozen=True, slots=True)
class WaitingJob:
    """A job in a queue. `position` counts from 1 over all classes of its model; the estimate is None if unknown.

    wait: what keeps every job of its model that is in a worker's hands from being worked on; None when one is.
    """

    id: str
    tenant: str
    model_id: str
    priority: int
    position: int
    eta_seconds: float | None
    wait: Wait | None = None


@dataclass(frozen=True, slots=True)
class RunningJob:
    """A job in a worker's hands. `wait` is what it waits for before it is worked on, None for nothing."""

    id: str
    model_id: str
    wait: Wait | None = None


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast a model's jobs go: what a token of cost takes, and cost and time so far of those that run."""

    token_seconds: float | None
    running: Sequence[tuple[float, float]] = ()

    def starts(self, costs: Iterable[float]) -> Iterator[float | None]:
        """After how many seconds each of the waiting jobs, of these costs, begins; None when nothing tells.

        A job begins when one ends. One that runs longer than its cost says is taken to need a quarter of that more:
        the machine may be slower now than it was lately.
        """
        if self.token_seconds is None or not self.running:
            yield from (None for _ in costs)
            return
        ends = [_left(cost * self.token_seconds, seconds) for cost, seconds in self.running]
        heapq.heapify(ends)
        for cost in costs:
            yield ends[0]
            heapq.heapreplace(ends, ends[0] + cost * self.token_seconds)


def _left(usual_seconds: float, seconds: float) -> float:
    """How long a job still runs that has run for some seconds."""
    return max(usual_seconds / 4, usual_seconds - seconds)


@dataclass(frozen=True, slots=True)
class QueueSnapshot:
    """The queue at one moment, in the order in which it would be served if nothing more came."""

    waiting: Sequence[WaitingJob] = ()
    running: Sequence[RunningJob] = ()
    by_id: Mapping[str, WaitingJob] = field(default_factory=dict)
    held: Mapping[str, Wait] = field(default_factory=dict)
    """What jobs in workers' hands wait for, by id."""


async def look(scripts: Scripts, weights: Weights = EVEN) -> QueueSnapshot:
    """Look at the whole queue in one round trip. Raises redis.RedisError: Redis did not answer.

    weights: the tenants', by which what a job is charged tells what it costs.
    """
    now, queues, running, paces = await scripts.look()
    at_work: dict[str, list[tuple[float, float]]] = defaultdict(list)
    held_up: dict[str, list[Wait | None]] = defaultdict(list)
    jobs: list[RunningJob] = []
    for member, since, waits, cost in _rows(running, 4):
        id_, _, key = member.decode().partition(" ")
        wait = Wait.from_bytes(waits) if waits else None
        jobs.append(RunningJob(id_, model_of(key), wait))
        held_up[key].append(wait)
        if wait is None:  # when one that waits for its model will end, nothing tells
            at_work[key].append((float(cost or 0), max(0.0, now - float(since)) / 1000))
    takes = {model.decode(): float(ms) / float(tokens) / 1000 for model, tokens, ms in _rows(paces, 3) if tokens}
    waiting: list[WaitingJob] = []
    for key, lines in _lines_by_model(queues).items():
        waiting += _served(key, lines, Pace(takes.get(key), at_work[key]), weights, _common(held_up[key]))
    held = {job.id: job.wait for job in jobs if job.wait is not None}
    return QueueSnapshot(waiting, jobs, {job.id: job for job in waiting}, held)


def service_order(lines: Mapping[str, tuple[float, Sequence[Place]]]) -> Iterator[tuple[str, Place]]:
    """The tenants and places of one queue's jobs in turn, from each tenant's virtual time and line."""
    turns = [(time, tenant, 0) for tenant, (time, places) in lines.items() if places]
    heapq.heapify(turns)
    while turns:
        time, tenant, index = turns[0]
        place = lines[tenant][1][index]
        yield tenant, place
        if index + 1 < len(lines[tenant][1]):
            heapq.heapreplace(turns, (time + place[0], tenant, index + 1))
        else:
            heapq.heappop(turns)


def _common(waits: Sequence[Wait | None]) -> Wait | None:
    """What a model's jobs wait for in workers' hands, where all of them do: of several the one that is nearest."""
    found = [wait for wait in waits if wait is not None]
    if len(found) < len(waits):
        return None
    return max(found, key=lambda wait: (wait.kind is WaitKind.LOADING, wait.progress or 0.0), default=None)


def _served(
    key: str, classes: Mapping[int, Any], pace: Pace, weights: Weights, wait: Wait | None
) -> Iterator[WaitingJob]:
    turns = [
        (priority, tenant, place) for priority in sorted(classes) for tenant, place in service_order(classes[priority])
    ]
    starts = pace.starts(charge * weights.of(tenant) for _, tenant, (charge, _) in turns)
    for position, ((priority, tenant, (_, id_)), start) in enumerate(zip(turns, starts, strict=True), 1):
        yield WaitingJob(id_, tenant, model_of(key), priority, position, start, wait)


def _lines_by_model(queues: Sequence[Any]) -> dict[str, dict[int, dict[str, tuple[float, list[Place]]]]]:
    found: dict[str, dict[int, dict[str, tuple[float, list[Place]]]]] = defaultdict(dict)
    for name, _, lines in _rows(queues, 3):
        priority, _, key = name.decode().partition(":")
        found[key][int(priority)] = {
            tenant.decode(): (float(time), [_place(place) for place in places])
            for tenant, time, places in _rows(lines, 3)
        }
    return found


def _place(member: bytes) -> Place:
    charge, _, id_ = member.decode().partition(" ")
    return float(charge), id_


def _rows(flat: Sequence[Any], width: int) -> Iterator[tuple[Any, ...]]:
    return zip(*(flat[start::width] for start in range(width)), strict=True)

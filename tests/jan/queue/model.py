"""The queue as a plain Python object, to compare the scripts with. Times are virtual, in milliseconds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass, field

from jan import keys
from jan.queue.jobs import MAX_LOST_WORKERS

_PATIENCE_MS = {"2": keys.NORMAL_AGES_SECONDS * 1000, "3": keys.BATCH_AGES_SECONDS * 1000}


@dataclass
class ModelJob:
    """A job as the model knows it."""

    id: str
    queue: str
    tenant: str
    cost: int
    weight: float
    sequence: int
    state: str = "queued"
    attempt: int = 0
    prompt: int = 0
    used: int = 0
    failures: int = 0
    events: int = 0
    started: int = 0
    since: int = 0
    enqueued: int = 0
    cancelled: bool = False
    waits: bool = False
    not_here: set[str] = field(default_factory=set)

    @property
    def charge(self) -> float:
        return self.cost / self.weight

    @property
    def model_id(self) -> str:
        return self.queue.partition(":")[2]


@dataclass
class ModelQueue:
    """One class of one model: who waits, and how far each tenant's virtual time is."""

    since: int = 0
    now: float = 0.0
    lines: dict[str, list[ModelJob]] = field(default_factory=dict)
    waiting: dict[str, float] = field(default_factory=dict)
    idle: dict[str, float] = field(default_factory=dict)

    def charge(self, tenant: str, amount: float) -> None:
        if tenant in self.waiting:
            self.waiting[tenant] += amount
        else:
            self.idle[tenant] = self.idle.get(tenant, self.now) + amount

    def stand_in_line(self, job: ModelJob, *, arrives: bool, now_ms: int) -> None:
        if not self.waiting:
            self.since = now_ms
        if job.tenant not in self.waiting:
            time = self.idle.pop(job.tenant, self.now)
            self.waiting[job.tenant] = max(time, self.now) if arrives else time
        line = self.lines.setdefault(job.tenant, [])
        line.append(job)
        line.sort(key=lambda other: other.sequence)

    def leave(self, job: ModelJob) -> None:
        line = self.lines[job.tenant]
        line.remove(job)
        if not line:
            self.idle[job.tenant] = self.waiting.pop(job.tenant)
            del self.lines[job.tenant]

    def next(self) -> ModelJob:
        _, tenant = min((time, tenant) for tenant, time in self.waiting.items())
        return self.lines[tenant][0]

    def pop(self) -> ModelJob:
        job = self.next()
        tenant, time = job.tenant, self.waiting[job.tenant]
        if time > self.now:
            self.now = time
            self.idle = {tenant: time for tenant, time in self.idle.items() if time >= self.now}
        self.charge(tenant, job.charge)
        self.leave(job)
        return job

    def order(self) -> list[str]:
        """The ids in turn, if nothing more came."""
        times = {tenant: (time, list(self.lines[tenant])) for tenant, time in self.waiting.items()}
        order = []
        while times:
            tenant = min(times, key=lambda name: (times[name][0], name))
            time, line = times[tenant]
            job = line.pop(0)
            order.append(job.id)
            if line:
                times[tenant] = (time + job.charge, line)
            else:
                del times[tenant]
        return order


class QueueModel:
    """All queues, and what becomes of jobs."""

    def __init__(self) -> None:
        self.jobs: dict[str, ModelJob] = {}
        self.queues: dict[str, ModelQueue] = defaultdict(ModelQueue)
        self.now_ms = 0
        self._sequence = 0

    def waiting(self, tenant: str | None = None) -> int:
        return sum(job.state == "queued" and tenant in (None, job.tenant) for job in self.jobs.values())

    def submit(self, id_: str, queue: str, tenant: str, cost: int, weight: float, *, prompt: int) -> None:
        job = ModelJob(id_, queue, tenant, cost, weight, self._next(), enqueued=self.now_ms, prompt=prompt)
        self.jobs[id_] = job
        self.queues[queue].stand_in_line(job, arrives=True, now_ms=self.now_ms)

    def take(self, full: Collection[str], elsewhere: Collection[str], in_hand: Collection[str]) -> ModelJob | None:
        candidates = []
        for name, queue in self.queues.items():
            class_, _, model = name.partition(":")
            left = model in elsewhere and not self._waits_long(queue)
            if queue.waiting and model not in full and not left:
                queue.since = min(queue.since, self.now_ms)
                passed_over = self.now_ms - queue.since
                urgent = class_ in _PATIENCE_MS and passed_over >= _PATIENCE_MS[class_]
                candidates.append((1 if urgent else int(class_), queue.since, name))
        waiting: set[str] = set()
        for *_, name in sorted(candidates):
            queue, model = self.queues[name], name.partition(":")[2]
            if model in in_hand and queue.next().failures >= MAX_LOST_WORKERS - 1:
                waiting.add(model)
            if model not in waiting:
                return self._begin(queue)
        return None

    def _begin(self, queue: ModelQueue) -> ModelJob:
        job = queue.pop()
        job.since, queue.since = queue.since, self.now_ms
        job.state, job.started = "running", self.now_ms
        job.attempt += 1
        return job

    def finish(self, job: ModelJob, spent: int | None) -> None:
        job.state, job.waits = "ended", False
        job.events += 1
        if spent is not None:
            self.queues[job.queue].charge(job.tenant, (max(spent, job.used) - job.cost) / job.weight)

    def _used(self, job: ModelJob) -> int:
        return max(job.used, job.prompt + job.events if job.events else 0)

    def _charge_used(self, job: ModelJob) -> None:
        """A taken job ends without its worker."""
        self.queues[job.queue].charge(job.tenant, (self._used(job) - job.cost) / job.weight)
        job.events += 1

    def wait(self, job: ModelJob, *, waits: bool) -> None:
        """A holder tells that its job waits for its model; or that it waits no more, and its time begins."""
        if job.waits and not waits:
            job.started = self.now_ms
        job.waits = waits

    def release(self, job: ModelJob, *, lost: bool, tried: bool = True, spent: int | None = 0) -> str:
        if spent is None:  # its worker is gone
            spent = 0 if job.waits else job.prompt + job.events
        job.used = max(spent, self._used(job))
        job.waits = False
        if job.cancelled:
            job.state = "ended"
            self._charge_used(job)
            return "ended"
        if lost:
            job.failures += 1
            if job.failures >= MAX_LOST_WORKERS:
                job.state = "dead"
                self._charge_used(job)
                return "ended"
        job.state = "queued"
        job.attempt -= not tried
        queue = self.queues[job.queue]
        queue.charge(job.tenant, -job.charge)
        queue.stand_in_line(job, arrives=False, now_ms=self.now_ms)
        queue.since = min(queue.since, job.since)
        return "released"

    def pass_on(self, job: ModelJob, host: str, hosts: Collection[str]) -> bool:
        """False when no living host is left; then the job stays where it is, unless it was cancelled."""
        job.not_here = {other for other in job.not_here if other in hosts} | {host}
        if not job.cancelled and job.not_here >= set(hosts):
            return False
        self.release(job, lost=False, tried=False)
        return True

    def cancel(self, id_: str, tenant: str) -> str:
        job = self.jobs.get(id_)
        if job is None or tenant not in ("", job.tenant):
            return "unknown"
        if job.state == "queued":
            self.queues[job.queue].leave(job)
            if used := self._used(job):
                self.queues[job.queue].charge(job.tenant, used / job.weight)
            job.state = "ended"
            return "cancelled"
        if job.state == "running":
            job.cancelled = True
            return "cancelling"
        return "ended"

    def forbid(self, id_: str) -> None:
        """Cancel a job that is not known: it has ended, should it come."""
        self.jobs[id_] = ModelJob(id_, "", "", 0, 1.0, 0, state="ended", events=1, cancelled=True)

    def requeue(self, job: ModelJob) -> bool:
        if job.state != "dead":
            return False
        job.state, job.failures, job.cancelled, job.sequence = "queued", 0, False, self._next()
        job.attempt, job.events, job.used, job.enqueued, job.not_here = 0, 0, 0, self.now_ms, set()
        self.queues[job.queue].stand_in_line(job, arrives=True, now_ms=self.now_ms)
        return True

    def order(self) -> dict[str, list[str]]:
        """For each model its waiting jobs in turn."""
        order: dict[str, list[str]] = defaultdict(list)
        for name in sorted(self.queues):
            order[name.partition(":")[2]] += self.queues[name].order()
        return {model: ids for model, ids in order.items() if ids}

    def _waits_long(self, queue: ModelQueue) -> bool:
        """Whether a queue's next job has been left to the hosts that have its model for long enough."""
        if not queue.waiting:
            return True
        waited = self.now_ms - queue.next().enqueued
        return waited < 0 or waited >= keys.ELSEWHERE_SECONDS * 1000

    def _next(self) -> int:
        self._sequence += 1
        return self._sequence

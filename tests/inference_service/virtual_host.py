"""A host in virtual time."""

from __future__ import annotations

import dataclasses
import heapq
import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field

from inference_service.devices.device import Device, DeviceKind
from inference_service.memory.placement import Demand
from inference_service.memory.residency import Phase, Plan, Policy, Resident, State, Want, plan
from inference_service.models.sleeping import sleep_places
from tests.inference_service.memory.test_placement import demand


@dataclass
class Job:
    model_id: str
    arrives: float
    lasts: float


@dataclass
class Host:
    """A host in virtual time, which obeys every plan: it loads, unloads and works, and checks what was promised.

    sleepy: models that can sleep, which leaves 1 GiB on their GPU. on_cpu: models that run in RAM.
    """

    devices: tuple[Device, ...]
    sizes: dict[str, int]
    policy: Policy
    load_seconds: float
    unload_seconds: float = 1.0
    turn_seconds: float = 0.5
    idle_seconds: float | None = None
    sleepy: frozenset[str] = frozenset()
    on_cpu: frozenset[str] = frozenset()
    now: float = 0.0
    residents: dict[str, Resident] = field(default_factory=dict)
    queued: dict[str, list[Job]] = field(default_factory=dict)
    since: dict[str, float] = field(default_factory=dict)
    waited: dict[str, float] = field(default_factory=dict)
    closed: set[str] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)
    loads: list[tuple[float, str]] = field(default_factory=list)
    wakes: list[tuple[float, str]] = field(default_factory=list)
    ending: list[Resident] = field(default_factory=list)
    """Copies that slept, and are unloaded because their model is loaded elsewhere."""
    events: list[tuple[float, int, str, str]] = field(default_factory=list)
    numbers: Iterable[int] = field(default_factory=itertools.count)
    done: int = 0

    def at(self, when: float, what: str, model_id: str) -> None:
        heapq.heappush(self.events, (when, next(iter(self.numbers)), what, model_id))

    def run(self, jobs: list[Job]) -> None:
        arrivals = dict(enumerate(jobs))
        for index, job in arrivals.items():
            self.at(job.arrives, f"job {index}", job.model_id)
        while self.events:
            self.now, _, what, model_id = heapq.heappop(self.events)
            if what.startswith("job "):
                self.queued.setdefault(model_id, []).append(arrivals[int(what.removeprefix("job "))])
            else:
                self.happens(what, model_id)
            self.step()

    def happens(self, what: str, model_id: str) -> None:
        found = self.residents.get(model_id)
        if what == "loaded":
            assert found is not None
            self.change(
                model_id, phase=Phase.RUNNING, loaded_at=self.now, last_used=self.now, load_seconds=self.load_seconds
            )
            if model_id in self.sleepy:
                footprint = self.demand(model_id).footprint
                self.change(model_id, places=sleep_places(found.placement, footprint, self.devices))
        elif what in ("asleep", "awake"):
            assert found is not None
            assert found.places is not None
            if what == "asleep":
                self.change(model_id, phase=Phase.SLEEPING, placement=found.places.asleep)
            else:
                self.change(
                    model_id,
                    phase=Phase.RUNNING,
                    placement=found.places.awake,
                    loaded_at=self.now,
                    last_used=self.now,
                    load_seconds=self.turn_seconds,
                )
        elif what == "ended":
            self.ending = [resident for resident in self.ending if resident.model_id != model_id]
        elif what == "unloaded":
            del self.residents[model_id]
        elif what == "finished":
            assert found is not None
            assert found.phase is Phase.RUNNING, "a model was unloaded under its job"
            self.change(model_id, users=found.users - 1, last_used=self.now)
            self.done += 1

    def change(self, model_id: str, **fields: object) -> None:
        self.residents[model_id] = dataclasses.replace(self.residents[model_id], **fields)  # type: ignore[arg-type]

    def demand(self, model_id: str) -> Demand:
        gib = self.sizes[model_id]
        kind = DeviceKind.CPU if model_id in self.on_cpu else DeviceKind.GPU
        return demand(gib - 1, overhead_gib=1, model_id=model_id, kinds=(kind,))

    def rests(self, model_id: str) -> bool:
        """Whether its jobs wait for it to be loaded, or woken."""
        return model_id not in self.residents or self.residents[model_id].phase is Phase.SLEEPING

    def step(self) -> None:
        self.admit()
        wants = [
            Want(self.demand(model_id), self.since[model_id])
            for model_id, jobs in self.queued.items()
            if jobs and self.rests(model_id) and self.since.setdefault(model_id, self.now) is not None
        ]
        state = State(self.devices, (*self.residents.values(), *self.ending), self.policy, self.now)
        made = plan(state, wants)
        assert plan(state, list(reversed(wants))) == made
        self.obey(made)
        self.admit()
        self.check()

    def admit(self) -> None:
        for model_id, jobs in self.queued.items():
            found = self.residents.get(model_id)
            if found is None or found.phase is not Phase.RUNNING or model_id in self.closed:
                continue
            for job in jobs:
                self.at(self.now + job.lasts, "finished", model_id)
            self.change(model_id, users=self.residents[model_id].users + len(jobs))
            jobs.clear()

    def obey(self, made: Plan) -> None:
        self.closed = set(made.closed)
        for eviction in made.evictions:
            found = self.residents[eviction.model_id]
            assert found.users == 0, "a model with work is evicted"
            self.change(eviction.model_id, phase=Phase.STOPPING)
            if eviction.sleeps:
                assert found.phase is Phase.RUNNING
                assert found.places is not None
                self.change(eviction.model_id, placement=found.places.between)
                self.at(self.now + self.turn_seconds, "asleep", eviction.model_id)
            else:
                self.at(self.now + self.unload_seconds, "unloaded", eviction.model_id)
        for model_id, placement in made.loads.items():
            copy = 0
            if (slept := self.residents.get(model_id)) is not None:
                copy = slept.copy + 1
                self.ending.append(dataclasses.replace(slept, phase=Phase.STOPPING))
                self.at(self.now + self.unload_seconds, "ended", model_id)
            self.residents[model_id] = Resident(
                model_id, copy, placement, Phase.LOADING, idle_seconds=self.idle_seconds
            )
            self.begins(model_id, self.loads)
            self.at(self.now + self.load_seconds, "loaded", model_id)
        for model_id in made.wakes:
            places = self.residents[model_id].places
            assert places is not None
            assert self.residents[model_id].phase is Phase.SLEEPING
            self.change(model_id, phase=Phase.LOADING, placement=places.between)
            self.begins(model_id, self.wakes)
            self.at(self.now + self.turn_seconds, "awake", model_id)
        self.refuse(made)
        if made.look_again_at is not None:
            assert made.look_again_at > self.now
            self.at(made.look_again_at, "look", "")

    def begins(self, model_id: str, log: list[tuple[float, str]]) -> None:
        waited = self.now - self.since.pop(model_id)
        self.waited[model_id] = max(waited, self.waited.get(model_id, 0.0))
        log.append((self.now, model_id))

    def refuse(self, made: Plan) -> None:
        for model_id in made.refusals:
            self.refused.add(model_id)
            self.done += len(self.queued[model_id])
            self.queued[model_id].clear()
            self.since.pop(model_id)

    def check(self) -> None:
        ids = [key.partition("#")[0] for key in self.residents]
        assert len(ids) == len(set(ids)), "a model is loaded twice, with different settings"
        for device in self.devices:
            holders = [*self.residents.values(), *self.ending]
            shares = [share for held in holders for share in held.placement.shares]
            assert sum(share.size_bytes for share in shares if share.device.id == device.id) <= device.free_bytes

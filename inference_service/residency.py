"""Who is loaded, who makes room and who waits: `plan`, a pure function of what is loaded and wanted.

Promises, each with a property test: no device is given more than it has free; a model with jobs in hand is never
unloaded; a model that fits on an empty host is loaded after a bounded time, however busy the others are; and models
that do not fit together take turns that last, instead of displacing each other for every request.

A turn lasts at least the minimum residency, and no shorter than loading took. A model that waits longer than the
patience closes those in its way: they take no new jobs, finish what they have, and go.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from inference_service.devices.device import Device, DeviceKind
from inference_service.placement import Demand, Placement, choose, why_not
from jan.inference.configurations import described, model_of


class Phase(StrEnum):
    """What a loaded copy is about."""

    LOADING = "loading"
    RUNNING = "running"
    STOPPING = "stopping"


@dataclass(frozen=True, slots=True)
class Resident:
    """A copy of a model that holds memory, from the decision to load it until its process has ended.

    Models are told apart by their keys here (`jan.inference.configurations`): the same one with other settings counts
    as another, only that both are never loaded side by side.

    users: jobs that it answers now. last_used, loaded_at: monotonic seconds. load_seconds: how long loading took.
    idle_seconds: how long it may rest before it is unloaded; None for ever.
    """

    model_id: str
    copy: int
    placement: Placement
    phase: Phase
    users: int = 0
    last_used: float = 0.0
    loaded_at: float = 0.0
    load_seconds: float = 0.0
    idle_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Want:
    """A model that jobs wait for, since when (monotonic seconds). extra: one more copy of a busy model, a nicety."""

    demand: Demand
    since: float
    extra: bool = False

    @property
    def model_id(self) -> str:
        """Which model."""
        return self.demand.model_id


@dataclass(frozen=True, slots=True)
class Policy:
    """The rules of taking turns.

    min_residency_seconds: how long a turn lasts. patience_seconds: how long a model waits for idle moments of the
    others before it closes them. most_models: how many models hold memory side by side; None for no bound.
    """

    min_residency_seconds: float
    patience_seconds: float
    most_models: int | None = None


@dataclass(frozen=True, slots=True)
class State:
    """One moment of a host. `devices` say what is free for all residents together."""

    devices: tuple[Device, ...]
    residents: tuple[Resident, ...]
    policy: Policy
    now: float


@dataclass(frozen=True, slots=True)
class Eviction:
    """A copy to unload now; it has no job in hand."""

    model_id: str
    copy: int
    why: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do now; each entry by model id, with the reason in words.

    closed: models that take no new jobs for now. refusals: models that this host has not the memory for. waits: models
    for which room is being made or waited for. look_again_at: when a new plan may differ though nothing happened.
    """

    loads: Mapping[str, Placement]
    evictions: tuple[Eviction, ...]
    closed: Mapping[str, str]
    refusals: Mapping[str, str]
    waits: Mapping[str, str]
    look_again_at: float | None


def plan(state: State, wants: Iterable[Want]) -> Plan:
    """Decide for every want, the longest waiting first, then for those that nobody wants any more."""
    draft = _Draft(state)
    for want in sorted(wants, key=lambda want: (want.extra, want.since, want.model_id)):
        draft.serve(want)
    draft.unload_idle()
    return draft.plan


@dataclass(frozen=True, slots=True)
class _Claim:
    """Memory that a model holds or is to have."""

    model_id: str
    placement: Placement


@dataclass(slots=True)
class _Draft:
    """A plan in the making."""

    state: State
    loads: dict[str, Placement] = field(default_factory=dict)
    evictions: list[Eviction] = field(default_factory=list)
    closed: dict[str, str] = field(default_factory=dict)
    refusals: dict[str, str] = field(default_factory=dict)
    waits: dict[str, str] = field(default_factory=dict)
    promised: list[_Claim] = field(default_factory=list)
    """Loads decided, and room kept for wants that wait for others to leave."""
    leaving: set[tuple[str, int]] = field(default_factory=set)
    """Copies that are on their way out, or will be."""
    looks: list[float] = field(default_factory=list)

    @property
    def plan(self) -> Plan:
        return Plan(
            self.loads,
            tuple(self.evictions),
            self.closed,
            self.refusals,
            self.waits,
            min((look for look in self.looks if look > self.state.now), default=None),
        )

    def serve(self, want: Want) -> None:
        """Load it, make room for it, have it wait, or refuse it."""
        residents = self.state.residents
        stopping = [resident for resident in residents if resident.phase is Phase.STOPPING or self._leaves(resident)]
        empty = {device.id: device.free_bytes for device in self.state.devices}
        if want.extra:
            if (placement := self._room(want, residents)) is not None:
                self._load(want, placement)
        elif choose(want.demand, self.state.devices, empty) is None:
            self.refusals[want.model_id] = why_not(want.demand, self.state.devices, empty)
        elif (placement := self._room(want, residents)) is not None:
            self._load(want, placement)
        elif (placement := self._room(want, _without(residents, stopping))) is not None:
            self._wait(want, placement, f"waits until {_names(stopping)} is unloaded")
        else:
            self._displace(want, stopping)

    def unload_idle(self) -> None:
        """Unload what has rested for as long as it may."""
        for resident in self.state.residents:
            if resident.idle_seconds is None or not _is_idle(resident) or self._leaves(resident):
                continue
            until = resident.last_used + resident.idle_seconds
            if until <= self.state.now:
                self._evict(resident, f"idle for {self.state.now - resident.last_used:.0f} s")
            else:
                self.looks.append(until)

    def _displace(self, want: Want, stopping: Sequence[Resident]) -> None:
        """Make room by unloading idle models; by closing busy ones when it has waited long enough."""
        now, staying = self.state.now, _without(self.state.residents, stopping)
        residing = [resident for resident in staying if now < self._residency_end(resident)]
        idle = sorted((r for r in staying if _is_idle(r) and r not in residing), key=_least_recently_used)
        found = self._victims(want, staying, idle)
        impatient_at = want.since + self.state.policy.patience_seconds
        if found is None and now >= impatient_at:
            # In the order in which they will have room for others: idle ones, then those whose turn began first.
            found = self._victims(want, staying, [*idle, *sorted(_without(staying, idle), key=_oldest)])
        if found is None:
            self.waits[want.model_id] = f"waits for room: {_names(staying)} in use"
            self.looks += [impatient_at, *map(self._residency_end, residing)]
            return
        victims, placement = found
        for victim in victims:
            self._ask_to_leave(victim, want, is_residing=victim in residing)
        self._wait(want, placement, f"waits until {_names(victims)} is unloaded")

    def _ask_to_leave(self, victim: Resident, want: Want, *, is_residing: bool) -> None:
        if is_residing:
            self.looks.append(self._residency_end(victim))
            self.leaving.add((victim.model_id, victim.copy))
        elif victim.users == 0:
            self._evict(victim, f"makes room for {described(want.model_id)}")
        else:
            waited = self.state.now - want.since
            self.closed[victim.model_id] = f"{described(want.model_id)} has waited {waited:.0f} s for room"
            self.leaving.add((victim.model_id, victim.copy))

    def _victims(
        self, want: Want, staying: Sequence[Resident], candidates: Sequence[Resident]
    ) -> tuple[list[Resident], Placement] | None:
        """The first candidates that together leave enough room, without those that turn out not to matter."""
        for count in range(1, len(candidates) + 1):
            victims = list(candidates[:count])
            if self._room(want, _without(staying, victims)) is not None:
                break
        else:
            return None
        for victim in reversed(victims[:]):
            fewer = [other for other in victims if other is not victim]
            if self._room(want, _without(staying, fewer)) is not None:
                victims = fewer
        placement = self._room(want, _without(staying, victims))
        assert placement is not None
        return victims, placement

    def _room(self, want: Want, present: Sequence[Resident]) -> Placement | None:
        """Where the model would go beside those present and what was promised."""
        claims = [*(_Claim(resident.model_id, resident.placement) for resident in present), *self.promised]
        if any(_is_other_configuration(claim.model_id, want.model_id) for claim in claims):
            return None
        most = self.state.policy.most_models
        if most is not None and len({claim.model_id for claim in claims} - {want.model_id}) >= most:
            return None
        free = {device.id: device.free_bytes for device in self.state.devices}
        for claim in claims:
            for share in claim.placement.shares:
                # A device that is gone, fallen off the bus for one, has nothing free.
                free[share.device.id] = free.get(share.device.id, 0) - share.size_bytes
        return choose(want.demand, self._devices_for(want, claims), free)

    def _devices_for(self, want: Want, claims: Sequence[_Claim]) -> Sequence[Device]:
        """One more copy goes on a GPU that has none yet: twice on one device computes no faster."""
        if not want.extra:
            return self.state.devices
        own = [claim.placement.shares for claim in claims if claim.model_id == want.model_id]
        used = {share.device.id for shares in own for share in shares}
        return [d for d in self.state.devices if d.kind is DeviceKind.GPU and d.id not in used]

    def _load(self, want: Want, placement: Placement) -> None:
        self.loads[want.model_id] = placement
        self.promised.append(_Claim(want.model_id, placement))

    def _wait(self, want: Want, placement: Placement, why: str) -> None:
        self.waits[want.model_id] = why
        self.promised.append(_Claim(want.model_id, placement))

    def _evict(self, resident: Resident, why: str) -> None:
        self.evictions.append(Eviction(resident.model_id, resident.copy, why))
        self.leaving.add((resident.model_id, resident.copy))

    def _leaves(self, resident: Resident) -> bool:
        return (resident.model_id, resident.copy) in self.leaving

    def _residency_end(self, resident: Resident) -> float:
        """When its turn may end. One that is being loaded has its turn before it."""
        turn = max(self.state.policy.min_residency_seconds, resident.load_seconds)
        return self.state.now + turn if resident.phase is Phase.LOADING else resident.loaded_at + turn


def _is_other_configuration(one: str, other: str) -> bool:
    """Whether both are the same model with different settings, which is loaded with one of them at a time."""
    return one != other and model_of(one) == model_of(other)


def _is_idle(resident: Resident) -> bool:
    return resident.phase is Phase.RUNNING and resident.users == 0


def _least_recently_used(resident: Resident) -> tuple[float, str, int]:
    return (resident.last_used, resident.model_id, resident.copy)


def _oldest(resident: Resident) -> tuple[bool, float, str, int]:
    return (resident.phase is Phase.LOADING, resident.loaded_at, resident.model_id, resident.copy)


def _without(residents: Sequence[Resident], gone: Collection[Resident]) -> list[Resident]:
    keys = {(resident.model_id, resident.copy) for resident in gone}
    return [resident for resident in residents if (resident.model_id, resident.copy) not in keys]


def _names(residents: Iterable[Resident]) -> str:
    return ", ".join(sorted({described(resident.model_id) for resident in residents})) or "another model"

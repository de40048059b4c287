"""Who is loaded, who makes room and who waits: `plan`, a pure function of what is loaded and wanted.

Promises, each with a property test: no device is given more than it has free; a model with jobs in hand is never
unloaded; a model that fits on an empty host is loaded after a bounded time, however busy the others are; and models
that do not fit together take turns that last, instead of displacing each other for every request.

A turn lasts at least the minimum residency, and no shorter than loading took. A model that waits longer than the
patience closes those in its way: they take no new jobs, finish what they have, and go.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from inference_service.devices.device import Device, DeviceKind
from inference_service.memory.placement import Demand, Placement, choose, why_not
from inference_service.models.sleeping import SleepPlaces
from jan.inference.configurations import described, model_of


class Phase(StrEnum):
    """What a loaded copy is about."""

    LOADING = "loading"
    RUNNING = "running"
    SLEEPING = "sleeping"
    STOPPING = "stopping"


@dataclass(frozen=True, slots=True)
class Resident:
    """A copy of a model that holds memory, from the decision to load it until its process has ended.

    Models are told apart by their keys here (`jan.inference.configurations`): the same one with other settings counts
    as another, only that both are never loaded side by side.

    placement: what it holds now. users: jobs that it answers now. last_used, loaded_at: monotonic seconds.
    load_seconds: how long loading, or waking, took.
    idle_seconds: how long it may rest before it is unloaded, or sleeps for as long and is unloaded then; None for ever.
    places: what it holds awake and asleep; None for one that cannot sleep.
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
    places: SleepPlaces | None = None


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
    """A copy to unload now, or to send to sleep; it has no job in hand."""

    model_id: str
    copy: int
    why: str
    sleeps: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do now; each entry by model id, with the reason in words.

    closed: models that take no new jobs for now. refusals: models that this host has not the memory for. waits: models
    for which room is being made or waited for. look_again_at: when a new plan may differ though nothing happened.
    wakes: models whose copy sleeps and has room to wake.
    """

    loads: Mapping[str, Placement]
    evictions: tuple[Eviction, ...]
    closed: Mapping[str, str]
    refusals: Mapping[str, str]
    waits: Mapping[str, str]
    look_again_at: float | None
    wakes: frozenset[str] = frozenset()


def plan(state: State, wants: Iterable[Want]) -> Plan:
    """Decide for every want, the longest waiting first, then for those that nobody wants any more."""
    wants = tuple(wants)
    draft = _Draft(state, frozenset(want.model_id for want in wants))
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
    wanted: frozenset[str]
    loads: dict[str, Placement] = field(default_factory=dict)
    evictions: list[Eviction] = field(default_factory=list)
    closed: dict[str, str] = field(default_factory=dict)
    refusals: dict[str, str] = field(default_factory=dict)
    waits: dict[str, str] = field(default_factory=dict)
    wakes: set[str] = field(default_factory=set)
    rousing: set[str] = field(default_factory=set)
    """Models whose copy sleeps and wakes now, or has its room kept; what it holds then is promised."""
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
            frozenset(self.wakes),
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
        """Unload what has rested for as long as it may; what can sleep does so first, for as long again."""
        for resident in self.state.residents:
            sleeps = resident.phase is Phase.SLEEPING
            if resident.idle_seconds is None or not _is_idle(resident) or self._leaves(resident):
                continue
            if sleeps and resident.model_id in self.wanted:
                continue
            until = resident.last_used + resident.idle_seconds * (2 if sleeps else 1)
            if until <= self.state.now:
                why = f"idle for {self.state.now - resident.last_used:.0f} s"
                self._evict(resident, why, sleeps=self._asleep(resident) is not None)
            else:
                self.looks.append(until)

    def _displace(self, want: Want, stopping: Sequence[Resident]) -> None:
        """Make room by unloading idle models; by closing busy ones when it has waited long enough."""
        now = self.state.now
        staying = [r for r in _without(self.state.residents, stopping) if not self._rouses(r)]
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
        beside = _without(staying, victims)
        for victim in victims:
            asleep = None if victim in residing else self._asleep(victim)
            if asleep is not None and (room := self._room(want, [*beside, asleep])) is not None:
                beside, placement = [*beside, asleep], room
                self._evict(victim, f"makes room for {described(want.model_id)}", sleeps=True)
            else:
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
        """Where the model would go beside those present and what was promised; back to where it sleeps, if it does."""
        sleeper = self._sleeper(want.model_id, present)
        others = [r for r in present if r is not sleeper and not self._rouses(r)]
        claims = [*(_Claim(resident.model_id, resident.placement) for resident in others), *self.promised]
        if any(_is_other_configuration(claim.model_id, want.model_id) for claim in claims):
            return None
        most = self.state.policy.most_models
        if most is not None and len({claim.model_id for claim in claims} - {want.model_id}) >= most:
            return None
        free = self._free(claims)
        if sleeper is not None and sleeper.places is not None:
            if all(share.size_bytes <= free.get(share.device.id, 0) for share in sleeper.places.awake.shares):
                return sleeper.places.awake
            free = self._free([*claims, _Claim(sleeper.model_id, sleeper.placement)])
        return choose(want.demand, self._devices_for(want, claims), free)

    def _free(self, claims: Iterable[_Claim]) -> dict[str, int]:
        free = {device.id: device.free_bytes for device in self.state.devices}
        for claim in claims:
            for share in claim.placement.shares:
                # A device that is gone, fallen off the bus for one, has nothing free.
                free[share.device.id] = free.get(share.device.id, 0) - share.size_bytes
        return free

    def _asleep(self, resident: Resident) -> Resident | None:
        """A copy as it would sleep; None when it cannot, is one of several, is to leave at once, or for lack of RAM."""
        same = [other for other in self.state.residents if other.model_id == resident.model_id]
        places = resident.places
        if places is None or resident.phase is not Phase.RUNNING or resident.users or len(same) > 1:
            return None
        others = [other for other in self.state.residents if not self._rouses(other)]
        claims = [*(_Claim(other.model_id, other.placement) for other in others), *self.promised]
        if resident.idle_seconds == 0 or self._free(claims).get(places.ram.device.id, 0) < places.ram.size_bytes:
            return None
        return replace(resident, phase=Phase.SLEEPING, placement=places.asleep)

    def _devices_for(self, want: Want, claims: Sequence[_Claim]) -> Sequence[Device]:
        """One more copy goes on a GPU that has none yet: twice on one device computes no faster."""
        if not want.extra:
            return self.state.devices
        own = [claim.placement.shares for claim in claims if claim.model_id == want.model_id]
        used = {share.device.id for shares in own for share in shares}
        return [d for d in self.state.devices if d.kind is DeviceKind.GPU and d.id not in used]

    def _load(self, want: Want, placement: Placement) -> None:
        self._promise(want, placement)
        if want.model_id in self.rousing:
            self.wakes.add(want.model_id)
        else:
            self.loads[want.model_id] = placement

    def _wait(self, want: Want, placement: Placement, why: str) -> None:
        self._promise(want, placement)
        self.waits[want.model_id] = why

    def _promise(self, want: Want, placement: Placement) -> None:
        sleeper = self._sleeper(want.model_id, self.state.residents)
        if sleeper is not None and sleeper.places is not None and placement is sleeper.places.awake:
            self.rousing.add(want.model_id)
            placement = sleeper.places.between
        self.promised.append(_Claim(want.model_id, placement))

    def _sleeper(self, model_id: str, present: Iterable[Resident]) -> Resident | None:
        """The copy of a model that sleeps and may wake."""
        for resident in present:
            if resident.model_id == model_id and resident.phase is Phase.SLEEPING and not self._leaves(resident):
                return resident
        return None

    def _evict(self, resident: Resident, why: str, *, sleeps: bool = False) -> None:
        self.evictions.append(Eviction(resident.model_id, resident.copy, why, sleeps))
        self.leaving.add((resident.model_id, resident.copy))
        if sleeps and resident.places is not None:
            self.promised.append(_Claim(resident.model_id, Placement((resident.places.ram,), "")))

    def _rouses(self, resident: Resident) -> bool:
        """Whether it sleeps and is about to wake."""
        return resident.phase is Phase.SLEEPING and resident.model_id in self.rousing

    def _leaves(self, resident: Resident) -> bool:
        return (resident.model_id, resident.copy) in self.leaving

    def _residency_end(self, resident: Resident) -> float:
        """When its turn may end. One that is being loaded has its turn before it, one that sleeps behind it."""
        if resident.phase is Phase.SLEEPING:
            return self.state.now
        turn = max(self.state.policy.min_residency_seconds, resident.load_seconds)
        return self.state.now + turn if resident.phase is Phase.LOADING else resident.loaded_at + turn


def _is_other_configuration(one: str, other: str) -> bool:
    """Whether both are the same model with different settings, which is loaded with one of them at a time."""
    return one != other and model_of(one) == model_of(other)


def _is_idle(resident: Resident) -> bool:
    return resident.phase in (Phase.RUNNING, Phase.SLEEPING) and resident.users == 0


def _least_recently_used(resident: Resident) -> tuple[float, str, int]:
    return (resident.last_used, resident.model_id, resident.copy)


def _oldest(resident: Resident) -> tuple[bool, float, str, int]:
    return (resident.phase is Phase.LOADING, resident.loaded_at, resident.model_id, resident.copy)


def _without(residents: Sequence[Resident], gone: Collection[Resident]) -> list[Resident]:
    keys = {(resident.model_id, resident.copy) for resident in gone}
    return [resident for resident in residents if (resident.model_id, resident.copy) not in keys]


def _names(residents: Iterable[Resident]) -> str:
    return ", ".join(sorted({described(resident.model_id) for resident in residents})) or "another model"

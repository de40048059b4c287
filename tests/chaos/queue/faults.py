"""What is done to the fleet, and when: each kind of fault before any comes twice, else as the seed draws."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from tests.chaos.clocks import HOUR, YEAR
from tests.chaos.queue.fleet import ChaosFleet
from tests.chaos.queue.people import Asked

PHASES: Final = ("queued", "loading", "before the first token", "mid-stream", "at the end")
JUMPS: Final = (HOUR, -HOUR, YEAR, -YEAR)
_LEASE_SECONDS = 8.0
# Shorter and longer than a lease is watched.
PAUSES: Final = (0.3, 2.0, _LEASE_SECONDS + 2)
FULL: Final = (0.5, 1.5, 4.0)
_SIZES: Final = {"clock jump": JUMPS, "SIGSTOP": PAUSES, "full memory": FULL, "full disk": FULL}

KINDS: Final = (
    *[("SIGKILL", target) for target in ("worker", "gateway", "redis", "storage")],
    *[("SIGSTOP", target) for target in ("worker", "gateway", "redis", "storage")],
    *[("cut replies", target) for target in ("worker", "gateway")],
    *[(harm, "redis") for harm in ("FLUSHALL", "full memory")],
    *[("full disk", target) for target in ("redis", "storage")],
    *[("clock jump", target) for target in ("worker", "gateway", "redis", "storage")],
)
"""Every harm, and whom it is done to."""

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Fault:
    """A harm, whom it is done to, when, and by how much: seconds of a pause or of a jump, else 0."""

    harm: str
    target: str
    phase: str
    seconds: float = 0.0

    def __str__(self) -> str:
        return f"{self.kind} {self.phase}"

    @property
    def kind(self) -> str:
        """What is counted."""
        by = f" {self.seconds:+.0f} s" if self.harm == "clock jump" else ""
        return f"{self.harm} {self.target}{by}"

    @property
    def forgets(self) -> bool:
        """Whether Redis forgets: at once, or because its clock says that every time to live is over."""
        return self.harm == "FLUSHALL" or (self.harm == "clock jump" and self.target == "redis")

    @property
    def breaks_gateway(self) -> bool:
        """Whether a gateway may die between what was done and its answer, and leave a key locked."""
        return self.harm == "SIGKILL" and self.target == "gateway"


def faults(chance: random.Random) -> Iterator[Fault]:
    """Faults without end, hand after hand: five hands hold each kind in each phase once, every hand each kind once.

    A hand also holds each jump of a clock, each length of a pause, and each phase at least three times.
    """
    for _ in itertools.count():
        kinds, phases = _shuffled(KINDS, chance), _shuffled(PHASES, chance)
        for hand in range(len(PHASES)):
            sizes = {harm: itertools.cycle(_shuffled(of, chance)) for harm, of in _SIZES.items()}
            cards = [
                Fault(harm, target, phases[(place + hand) % len(PHASES)], next(sizes[harm]) if harm in sizes else 0.0)
                for place, (harm, target) in enumerate(kinds)
            ]
            yield from _shuffled(cards, chance)


async def at_phase(
    fault: Fault, asked: Sequence[Asked], asking: Sequence[asyncio.Task[None]], chance: random.Random
) -> None:
    """Wait until what is asked is where the fault wants it."""
    match fault.phase:
        case "queued" | "loading":
            await asyncio.sleep(chance.uniform(0, 0.03))
        case "before the first token":
            await asyncio.sleep(chance.uniform(0.02, 0.12))
        case "mid-stream":
            await chance.choice(asked).spoke.wait()
            await asyncio.sleep(chance.uniform(0, 0.15))
        case _:
            await asyncio.wait(asking, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.sleep(chance.uniform(0, 0.03))


async def inflict(fault: Fault, fleet: ChaosFleet, chance: random.Random) -> None:
    """Do it, and return when all is as it was: started again, let go on, with room."""
    number = chance.choice("12")
    name = {"worker": f"inference-{number}", "gateway": f"gateway-{number}"}.get(fault.target, fault.target)
    match fault.harm:
        case "SIGKILL":
            await fleet.kill(name)
            await asyncio.sleep(chance.uniform(0, 0.5))
            await fleet.start(name)
        case "SIGSTOP":
            fleet.freeze(name)
            await asyncio.sleep(fault.seconds)
            fleet.thaw(name)
        case "cut replies":
            fleet.wires[name].cut(chance.randrange(1, 20))
            await asyncio.sleep(0.5)
            fleet.wires[name].mend()
        case "FLUSHALL":
            await fleet.forget()
        case "full memory":
            await fleet.fill_memory(full=True)
            await asyncio.sleep(fault.seconds)
            await fleet.fill_memory(full=False)
        case "full disk":
            fleet.fill_disk(name, full=True)
            await asyncio.sleep(fault.seconds)
            fleet.fill_disk(name, full=False)
        case _:
            fleet.set_clock(name, int(fault.seconds))
            await asyncio.sleep(0.5)
            fleet.set_clock(name, 0)


def _shuffled(values: Sequence[Value], chance: random.Random) -> list[Value]:
    return chance.sample(values, len(values))

"""What is done to the fleet, and when: every pair of a harm and a phase, in an order that the seed draws."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from tests.chaos.clocks import HOUR, YEAR
from tests.chaos.queue.fleet import ChaosFleet
from tests.chaos.queue.people import Asked

PHASES: Final = ("queued", "loading", "before the first token", "mid-stream", "at the end")
_LEASE_SECONDS = 8.0


@dataclass(frozen=True, slots=True)
class Fault:
    """A harm, whom it is done to, and when."""

    harm: str
    target: str
    phase: str

    def __str__(self) -> str:
        return f"{self.harm} {self.target} {self.phase}"

    @property
    def forgets(self) -> bool:
        """Whether Redis forgets: at once, or because its clock says that every time to live is over."""
        return self.harm == "FLUSHALL" or (self.harm == "clock jump" and self.target == "redis")

    @property
    def breaks_gateway(self) -> bool:
        """Whether a gateway may die between what was done and its answer, and leave a key locked."""
        return self.harm == "SIGKILL" and self.target == "gateway"

    @property
    def leaves_doubt(self) -> bool:
        """Whether nobody may know if a request was done, so that its repetition does it again (decision 0033)."""
        silences_storage = self.target == "storage" and self.harm in ("SIGKILL", "SIGSTOP")
        return self.breaks_gateway or silences_storage or self.forgets


_HARMS: Final = (
    *[("SIGKILL", target) for target in ("worker", "gateway", "redis", "storage")],
    *[("SIGSTOP", target) for target in ("worker", "gateway", "redis", "storage")],
    *[("cut replies", target) for target in ("worker", "gateway")],
    *[(harm, "redis") for harm in ("FLUSHALL", "full memory", "full disk")],
    *[("clock jump", target) for target in ("worker", "gateway", "redis", "storage")],
)


def deck(chance: random.Random) -> list[Fault]:
    """Each fault once, shuffled."""
    cards = [Fault(harm, target, phase) for harm, target in _HARMS for phase in PHASES]
    chance.shuffle(cards)
    return cards


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
    # Shorter and longer than a lease is watched.
    pause = chance.choice((0.3, 2.0, _LEASE_SECONDS + 2))
    match fault.harm:
        case "SIGKILL":
            await fleet.kill(name)
            await asyncio.sleep(chance.uniform(0, 0.5))
            await fleet.start(name)
        case "SIGSTOP":
            fleet.freeze(name)
            await asyncio.sleep(pause)
            fleet.thaw(name)
        case "cut replies":
            fleet.wires[name].cut(chance.randrange(1, 20))
            await asyncio.sleep(0.5)
            fleet.wires[name].mend()
        case "FLUSHALL":
            await fleet.forget()
        case "full memory":
            await fleet.fill_memory(full=True)
            await asyncio.sleep(min(pause, 4.0))
            await fleet.fill_memory(full=False)
        case "full disk":
            fleet.fill_disk(full=True)
            await asyncio.sleep(min(pause + 1, 4.0))
            fleet.fill_disk(full=False)
        case _:
            fleet.set_clock(name, chance.choice((HOUR, -HOUR, YEAR, -YEAR)))
            await asyncio.sleep(0.5)
            fleet.set_clock(name, 0)

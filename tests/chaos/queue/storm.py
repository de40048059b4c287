"""Everything is harmed in turn under load: the whole product as real processes, people who ask, and what must hold."""

from __future__ import annotations

import asyncio
import itertools
import random
import sys
import tempfile
from collections import Counter
from pathlib import Path

import aiohttp
from redis.asyncio import Redis

from jan.redis import connect
from tests.chaos import oracle
from tests.chaos.engines.checks import TERMINAL
from tests.chaos.oracle import Finding
from tests.chaos.queue import checks, faults
from tests.chaos.queue.engine import MODEL, KnownEngine
from tests.chaos.queue.faults import Fault
from tests.chaos.queue.fleet import ChaosFleet, running
from tests.chaos.queue.people import KINDS, Asked, Person
from tests.e2e.rolling import ORDER

_PEOPLE_PER_KIND = 3
# How long after all is back everybody must have his end.
_BOUND_SECONDS = 30.0
_PHASE_SECONDS = 60.0


class Storm:
    """One running Janroot that is harmed again and again; `findings` must stay empty."""

    def __init__(self, seed: int) -> None:
        self.findings: list[Finding] = []
        self.done: Counter[str] = Counter()
        self.ends: Counter[str] = Counter()
        self.breaks = 0
        self.slowest_seconds = 0.0
        self.last_fault: Fault | None = None
        self._chance = random.Random(seed)
        self._asked = 0

    async def rage(self, count: int) -> None:
        """Inflict so many faults, or until something is found."""
        # Not below pytest's own folder, whose path may be too long for a socket.
        with tempfile.TemporaryDirectory(prefix="jan-chaos-") as name:
            engine = KnownEngine()
            async with (
                engine.serving(),
                running(Path(name), self._chance, engine) as fleet,
                connect(fleet.redis_url) as redis,
                aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as session,
            ):
                for fault in itertools.islice(faults.faults(self._chance), count):
                    await self._round(fault, fleet, redis, session, engine)
                    if self.findings:
                        break
                for service in ORDER:
                    await fleet.stop(service)
                seen = await asyncio.to_thread(oracle.read, fleet.janroot)
                self.findings += seen.findings
                if self.findings:
                    print("\n".join(f"== {service}\n{fleet.log(service)}" for service in ORDER))

    async def _round(
        self, fault: Fault, fleet: ChaosFleet, redis: Redis, session: aiohttp.ClientSession, engine: KnownEngine
    ) -> None:
        self.last_fault = fault
        if fault.phase == "loading":
            async with session.post(f"{fleet.url('gateway-1')}/v1/models/{MODEL}/stop") as answer:
                answer.raise_for_status()
        people = [Person(session, self._gateways(fleet), self._question(kind)) for kind in KINDS * _PEOPLE_PER_KIND]
        asked = [person.asked for person in people]
        tasks = [asyncio.create_task(person.ask(), name=person.asked.kind) for person in people]
        try:
            async with asyncio.timeout(_PHASE_SECONDS):
                await faults.at_phase(fault, asked, tasks, self._chance)
            await faults.inflict(fault, fleet, self._chance)
            healed = asyncio.get_running_loop().time()
            _, late = await asyncio.wait(tasks, timeout=_BOUND_SECONDS)
            self.findings += [Finding(TERMINAL, f"{fault}: {told}") for told in asked if late and not told.end]
        finally:
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
        self.findings += [Finding(TERMINAL, f"{fault}: {r!r}") for r in results if isinstance(r, Exception)]
        if self.findings:
            return
        self.done[fault.kind] += 1
        self.ends.update(f"{told.kind} {told.end}" for told in asked)
        breaks = sum(told.breaks.total() for told in asked)
        last_seconds = max(told.ended_at - healed for told in asked)
        self.breaks += breaks
        self.slowest_seconds = max(self.slowest_seconds, last_seconds)
        for person in people:
            self.findings += await checks.of_person(person, fault)
        self.findings += await checks.of_redis(redis) + await checks.of_engine(engine)
        told_it = f"{breaks} breaks, the last end after {last_seconds:.1f} s"
        print(f"{self.done.total()} {fault}: {told_it}", file=sys.stderr, flush=True)

    def _gateways(self, fleet: ChaosFleet) -> list[str]:
        urls = [fleet.url("gateway-1"), fleet.url("gateway-2")]
        self._chance.shuffle(urls)
        return urls

    def _question(self, kind: str) -> Asked:
        self._asked += 1
        return Asked(kind, MODEL, f"q{self._asked} {self._chance.randrange(20, 120)}")

"""Engines killed under load: the whole product as real processes, people who ask, a kill, and what must hold then."""

from __future__ import annotations

import asyncio
import random
import tempfile
from collections import Counter
from pathlib import Path

import aiohttp
from redis.asyncio import Redis

from jan.redis import connect
from tests.chaos.engines import checks, scripted_vllm
from tests.chaos.engines.killing import PHASES, Engines, at_phase
from tests.chaos.engines.people import Person, Told
from tests.chaos.oracle import Finding
from tests.fixtures.stack import MODEL as DEMO
from tests.fixtures.stack import Stack

KINDS = ("streamed run", "polled run", "streamed chat", "whole chat")
_ROUND_SECONDS = 120.0
_DEVICES = '[{"id": "cpu", "kind": "cpu", "memory_gib": 64}]'
_QUESTIONS = (
    "Name three animals of the forest.",
    "What is the capital of France? Answer in one sentence.",
    "When should I plant tomatoes? Answer in one sentence.",
)


class Storm:
    """One running Janroot whose engines are killed again and again; `findings` must stay empty."""

    def __init__(self, seed: int) -> None:
        self.findings: list[Finding] = []
        self.kills: Counter[str] = Counter()
        self.rounds = 0
        self.ends: Counter[str] = Counter()
        self._chance = random.Random(seed)
        self._asked = 0

    async def rage(self, kills: int) -> None:
        """Kill so many engines, or until something is found."""
        with tempfile.TemporaryDirectory(prefix="jan-storm-") as name:
            folder = Path(name)
            python = scripted_vllm.install(folder)
            stack = Stack(folder, {"JANROOT_VLLM_PYTHON": str(python), "JANROOT_DEVICES": _DEVICES})
            await asyncio.to_thread(stack.start_all)
            scripted_vllm.add_model(stack.janroot)
            try:
                engines = Engines(folder, stack.processes["inference_service"].pid)
                async with connect(stack.redis.url) as redis, aiohttp.ClientSession() as session:
                    while self.kills.total() < kills and not self.findings:
                        await self._round(stack, engines, redis, session)
            finally:
                if self.findings:
                    print(stack.logs())
                await asyncio.to_thread(stack.stop_all)
            self.findings += [Finding(checks.ORPHANS, orphan) for orphan in engines.orphans()]

    async def _round(self, stack: Stack, engines: Engines, redis: Redis, session: aiohttp.ClientSession) -> None:
        phase = PHASES[self.rounds % len(PHASES)]
        people = [Person(session, stack.url, told) for told in self._questions(phase)]
        if phase == "while loading":
            await self._put_to_rest(stack, session, {person.told.model for person in people})
        asked = [person.told for person in people]
        try:
            async with asyncio.timeout(_ROUND_SECONDS), asyncio.TaskGroup() as tasks:
                killing = tasks.create_task(at_phase(phase, engines, asked, self._chance), name="kill")
                for person in people:
                    tasks.create_task(person.ask(), name=person.told.kind)
        except TimeoutError:
            self.findings += [Finding(checks.TERMINAL, str(told)) for told in asked if not told.end]
            return
        self.rounds += 1
        self.kills[phase] += killing.result()
        self.ends.update(f"{told.kind} {told.end}" for told in asked)
        for person in people:
            self.findings += await checks.of_person(person)
        self.findings += checks.of_ends(asked)
        self.findings += await checks.of_redis(redis)
        self.findings += await checks.of_processes(engines)

    def _questions(self, phase: str) -> list[Told]:
        """Most ask the scripted engine, which is quick; before two are killed at once both engines are asked."""
        asks_demo = phase == "two at once" or self.rounds % 9 == 0
        models = [scripted_vllm.MODEL, DEMO if asks_demo else scripted_vllm.MODEL]
        return [self._question(kind, model) for model in models for kind in KINDS]

    def _question(self, kind: str, model: str) -> Told:
        self._asked += 1
        if model == scripted_vllm.MODEL:
            return Told(kind, model, f"q{self._asked} {self._chance.randrange(20, 120)}")
        return Told(kind, model, self._chance.choice(_QUESTIONS))

    async def _put_to_rest(self, stack: Stack, session: aiohttp.ClientSession, models: set[str]) -> None:
        for model in sorted(models):
            async with session.post(f"{stack.url}/v1/models/{model}/stop") as answer:
                answer.raise_for_status()

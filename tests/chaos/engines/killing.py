"""The engines of a running inference service, found from outside; killed at moments that a seed has drawn."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from tests.chaos.engines.people import Told

PHASES: Final = ("before the first token", "mid-stream", "while loading", "two at once")
_LOOK_SECONDS = 0.01


@dataclass(frozen=True, slots=True)
class Engine:
    """One engine process, or the guard before it, or the server behind the guard."""

    process: psutil.Process
    is_scripted: bool


class Engines:
    """What runs of engines below one run folder."""

    def __init__(self, run_dir: Path, service_pid: int) -> None:
        self._mark = str(run_dir / "engines")
        self._service_pid = service_pid

    def all(self) -> list[Engine]:
        """Every living engine process, whoever its parent is."""
        found: list[Engine] = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                words = process.cmdline()
                if any(self._mark in word for word in words) and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(Engine(process, any(word.startswith("--uds=") for word in words)))
        return found

    def orphans(self) -> list[str]:
        """Those that do not belong to the service any more."""
        lost: list[str] = []
        for engine in self.all():
            with contextlib.suppress(psutil.NoSuchProcess):
                if all(parent.pid != self._service_pid for parent in engine.process.parents()):
                    lost.append(f"{engine.process.pid}: {' '.join(engine.process.cmdline())[:200]}")
        return lost

    def kill(self, chance: random.Random, *, scripted: bool) -> int:
        """SIGKILL one process of an engine; how many were killed: none when it does not run now."""
        candidates = [engine.process for engine in self.all() if engine.is_scripted is scripted]
        if not candidates:
            return 0
        with contextlib.suppress(psutil.NoSuchProcess):
            chance.choice(candidates).kill()
            return 1
        return 0

    async def until_there(self, *, scripted: bool) -> None:
        """Wait until such an engine is started."""
        while True:
            if any(engine.is_scripted is scripted for engine in await asyncio.to_thread(self.all)):
                return
            await asyncio.sleep(_LOOK_SECONDS)


async def at_phase(phase: str, engines: Engines, asked: Sequence[Told], chance: random.Random) -> int:
    """Kill what the phase says, when it says; how many engines were killed."""
    models = sorted({told.model == "scripted" for told in asked})
    scripted = chance.choice(models)
    ours = [told for told in asked if (told.model == "scripted") is scripted]
    match phase:
        case "before the first token":
            await asyncio.sleep(chance.uniform(0, 0.03))
        case "mid-stream":
            await chance.choice(ours).spoke.wait()
            await asyncio.sleep(chance.uniform(0, 0.12))
        case "while loading":
            await engines.until_there(scripted=scripted)
            await asyncio.sleep(chance.uniform(0, 0.3))
        case _:
            await chance.choice(ours).spoke.wait()
            return sum(engines.kill(chance, scripted=each) for each in models)
    return engines.kill(chance, scripted=scripted)

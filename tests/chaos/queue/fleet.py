"""The fleet of the rolling restart, each process with its own line to Redis and its own clock, and means to harm it."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import struct
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from resource import RLIM_INFINITY, RLIMIT_FSIZE, prlimit

from jan.redis import connect
from tests.chaos.clocks import compile_shim
from tests.chaos.queue.engine import MODEL, SLOTS, KnownEngine
from tests.chaos.queue.wire import Wire
from tests.e2e.rolling import ORDER, Fleet
from tests.fixtures.gateway import write_model

SERVICES = tuple(name for name in ORDER if name != "redis")


class ChaosFleet(Fleet):
    """Two gateways, two engine hosts, storage and Redis."""

    def __init__(self, folder: Path, chance: random.Random) -> None:
        super().__init__(folder)
        self.janroot = folder / "alone/janroot"  # the oracle takes its neighbours for something that slipped out
        redis = folder / "redis.sock"
        self.redis_url = f"unix://{redis}"
        self.wires = {name: Wire(folder / f"{name}.redis", redis, chance) for name in SERVICES if name != "storage"}
        self._shim = compile_shim(folder / "clock.so")
        if self._shim is None:
            raise RuntimeError("gcc is missing: without it no process can be given a clock that jumps")
        for name in ORDER:
            self.set_clock(name, 0)

    def set_clock(self, name: str, seconds: int) -> None:
        """Let a process's wall clock be off by so much, from now on and after its next start."""
        path = self.folder / f"{name}.clock"
        with path.open("r+b" if path.exists() else "wb", buffering=0) as file:
            file.write(struct.pack("q", seconds))

    async def kill(self, name: str) -> None:
        """SIGKILL."""
        self.processes[name].kill()
        await self.processes[name].wait()

    def freeze(self, name: str) -> None:
        """SIGSTOP: alive, and silent."""
        self.processes[name].send_signal(signal.SIGSTOP)

    def thaw(self, name: str) -> None:
        """SIGCONT."""
        self.processes[name].send_signal(signal.SIGCONT)

    async def forget(self) -> None:
        """FLUSHALL."""
        async with connect(self.redis_url) as redis:
            await redis.flushall()

    async def fill_memory(self, *, full: bool) -> None:
        """Whether Redis refuses every write for want of memory."""
        async with connect(self.redis_url) as redis:
            await redis.config_set("maxmemory", "1" if full else "0")

    def fill_disk(self, name: str, *, full: bool) -> None:
        """Whether files of Redis (the append-only one) or of storage cannot grow: EFBIG, taken like a full disk."""
        written = self.folder.glob("appendonlydir/*") if name == "redis" else ()
        limit = max((path.stat().st_size for path in written), default=0)
        prlimit(self.processes[name].pid, RLIMIT_FSIZE, (limit if full else RLIM_INFINITY, RLIM_INFINITY))

    def _command(self, name: str) -> list[str]:
        # Without the signal that a limit sends: a disk that is full sends none.
        before = {
            "redis": ["sh", "-c", 'trap "" XFSZ; exec "$@"', name],
            # Its log is on another disk.
            "storage": ["bash", "-c", 'exec "$@" > >(exec cat) 2>&1', name],
        }
        return [*before.get(name, []), *super()._command(name)]

    def _environment(self, name: str) -> dict[str, str]:
        clock = {"CHAOS_CLOCK": f"{self.folder}/{name}.clock", "LD_PRELOAD": str(self._shim)}
        wire = {"JANROOT_REDIS_URL": self.wires[name].url} if name in self.wires else {}
        return super()._environment(name) | wire | clock


@asynccontextmanager
async def running(folder: Path, chance: random.Random, engine: KnownEngine) -> AsyncIterator[ChaosFleet]:
    """All of it, over an engine that is there already; nothing is left running."""
    fleet = ChaosFleet(folder, chance)
    settings = {"continue_final_message": True, "n_parallel": SLOTS}
    await asyncio.to_thread(write_model, fleet.janroot, MODEL, sources=[{"url": engine.url}], settings=settings)
    async with AsyncExitStack() as stack:
        for wire in fleet.wires.values():
            await stack.enter_async_context(wire.listening())
        try:
            for name in reversed(ORDER):
                await fleet.start(name)
            yield fleet
        finally:
            for process in fleet.processes.values():
                if process.returncode is None:
                    os.kill(process.pid, signal.SIGKILL)
                    await process.wait()

"""What a gateway works on under leases: a task for each, renewed together, let go of together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from redis.exceptions import RedisError

from jan.queue.leases import RENEW_SECONDS, Lease, LeaseKind, LeaseState, renew
from jan.queue.runs import RunLeases
from jan.queue.scripts import Scripts
from jan.tasks import background, end
from jan.telemetry import get_logger

logger = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Held:
    lease: Lease
    task: asyncio.Task[None]


class Holdings:
    """The work of one kind. A task whose lease went to somebody else is cancelled."""

    def __init__(self, scripts: Scripts, leases: RunLeases, renew_seconds: float = RENEW_SECONDS) -> None:
        self._scripts = scripts
        self._leases = leases
        self._renew_seconds = renew_seconds
        self._held: dict[str, _Held] = {}
        # A renewal on its way would make a lease again that was given back meanwhile.
        self._renewing = asyncio.Lock()

    def __contains__(self, id_: str) -> bool:
        return id_ in self._held

    def __len__(self) -> int:
        return len(self._held)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Renew while the context is open; end the tasks when it closes, and give their leases back."""
        try:
            async with background(self._renew_for_ever(), "renew-leases"):
                yield
        finally:
            for held in list(self._held.values()):
                await end(held.task)
                await self.give_back(held.lease)

    def hold(self, lease: Lease, task: asyncio.Task[None]) -> None:
        """Have a lease renewed for a task."""
        self._held[lease.id] = _Held(lease, task)

    def forget(self, lease: Lease) -> None:
        """Renew a lease no more."""
        if lease.id in self._held and self._held[lease.id].lease == lease:
            del self._held[lease.id]

    async def give_back(self, lease: Lease) -> None:
        """Let go of a lease, at the end of the work or before it, so that another gateway may take it at once."""
        async with self._renewing:
            self.forget(lease)
            try:
                await self._leases.abandon(lease)
            except (RedisError, OSError) as error:
                logger.warning("lease not given back", lease=lease.id, error=str(error))

    async def _renew_for_ever(self) -> None:
        while True:
            await asyncio.sleep(self._renew_seconds)
            async with self._renewing:
                await self._renew()

    async def _renew(self) -> None:
        leases = [held.lease for held in self._held.values()]
        try:
            answers = await renew(self._scripts, LeaseKind.RUN, leases)
        except (RedisError, OSError) as error:
            logger.warning("leases not renewed", error=str(error))
            return
        for lease, state in zip(leases, answers, strict=True):
            held = self._held.get(lease.id)
            if state is LeaseState.LOST and held is not None and held.lease == lease:
                held.task.cancel()

"""What a job in a worker's hands waits for before it can be worked on: its model to load, or memory for it.

It stands with the job, so that every gateway can tell it, and only of jobs that really wait: others cost nothing.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Self

import orjson

from jan import keys
from jan.queue.leases import Lease
from jan.queue.scripts import Scripts


class WaitKind(StrEnum):
    """What is told as the job's state meanwhile."""

    LOADING = "loading"
    """Its model is on its way into memory."""
    WAITING = "waiting"
    """Its model waits: for memory, or for answers of the same engine to end."""


@dataclass(frozen=True, slots=True)
class Wait:
    """What a job waits for. progress: how much of its model is loaded, 0 to 1, if known. activity: that in words."""

    kind: WaitKind
    progress: float | None = None
    activity: str = ""

    def to_bytes(self) -> bytes:
        """As Redis keeps it."""
        return orjson.dumps(asdict(self))

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """The other way round."""
        facts: dict[str, Any] = orjson.loads(data)
        return cls(**facts | {"kind": WaitKind(facts["kind"])})


async def tell_wait(scripts: Scripts, lease: Lease, wait: Wait | None) -> None:
    """Tell what a taken job waits for now; None: it waits no more, and its time begins. Others' jobs stay as they are.

    Raises redis.RedisError: unknown whether it was told; telling it again is harmless.
    """
    await scripts.wait(
        keys=[keys.job(lease.id)], args=[lease.id, lease.token, b"" if wait is None else wait.to_bytes()]
    )

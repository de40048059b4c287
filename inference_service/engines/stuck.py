"""Whether an engine computes on something that never ends: a hostile template, or a schema of endless ways (S21, S25).

Such work is done before a request gets a slot, in a thread that nothing can stop but the end of the process. So an
engine is ended when it has a question that it neither answers nor works on, when it says nothing of itself for long, or
when it computes although nobody asks anything. The questions in doubt fail, and are not asked again.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from inference_service.engines.process import EngineProcess, describe_exit
from inference_service.engines.traffic import Traffic
from jan.errors import UnavailableError
from jan.telemetry import get_logger

logger = get_logger(__name__)

IDLE_SECONDS: Final = 60.0
"""How long a question may wait outside of all slots, or an engine compute for nobody."""
MUTE_SECONDS: Final = 600.0
"""How long an engine may say nothing of itself; reading one batch of a long prompt takes minutes on a slow machine."""
LOOK_SECONDS: Final = 5.0
_BUSY_SHARE: Final = 0.1  # of one core: more than an idle engine takes, and what a stuck one gets on a busy machine
_STUCK: Final = "The engine did not come to an end with a request, and was ended."


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen at one moment. busy: requests that the engine says it works on; None when it did not answer."""

    at: float
    busy: int | None
    cpu_seconds: float


@dataclass(slots=True)
class Verdicts:
    """Looks become a verdict. Pure but for the traffic that it reads. slots: the most that the engine works on."""

    traffic: Traffic
    slots: int
    idle_seconds: float = IDLE_SECONDS
    mute_seconds: float = MUTE_SECONDS
    _heard_at: float | None = None
    _waits_since: float | None = None
    _burns_since: Look | None = None

    def note(self, look: Look) -> str:
        """Why the engine is stuck, once that is certain; "" until then."""
        self._heard_at = look.at if look.busy is not None or self._heard_at is None else self._heard_at
        if look.busy is None:
            self._waits_since = self._burns_since = None
            return "it says nothing of itself" if look.at - self._heard_at >= self.mute_seconds else ""
        return self._waits(look, look.busy) or self._burns(look, look.busy)

    def _waits(self, look: Look, busy: int) -> str:
        """A question has no slot although there is one."""
        if busy >= min(len(self.traffic), self.slots) or not self.traffic.silent_for(self.idle_seconds):
            self._waits_since = None
        elif self._waits_since is None:
            self._waits_since = look.at
        elif look.at - self._waits_since >= self.idle_seconds:
            return "it does not come to an end with a question"
        return ""

    def _burns(self, look: Look, busy: int) -> str:
        """It computes for nobody: somebody left, and what was begun for them goes on."""
        first = self._burns_since
        if busy or len(self.traffic):
            self._burns_since = None
        elif first is None or look.cpu_seconds - first.cpu_seconds < _BUSY_SHARE * (look.at - first.at):
            self._burns_since = look
        elif look.at - first.at >= self.idle_seconds:
            return "it computes although nobody asks"
        return ""


@dataclass(slots=True)
class StuckWatch:
    """Looks at an engine for as long as it runs, and ends it when it is stuck.

    busy: asks it how many requests it works on; raises UnavailableError when it does not answer.
    """

    verdicts: Verdicts
    busy: Callable[[], Awaitable[int]]
    look_seconds: float = LOOK_SECONDS

    async def wait_exit(self, process: EngineProcess) -> str:
        """A sentence on how the process ended, by itself or because it was stuck, once it has."""
        async with asyncio.TaskGroup() as tasks:
            looking = tasks.create_task(self._until_stuck(process), name="stuck-watch")
            returncode = await process.wait_exit()
            stuck = looking.done() and not looking.cancelled()
            looking.cancel()
        return _STUCK if stuck else f"The engine {describe_exit(returncode)}."

    async def _until_stuck(self, process: EngineProcess) -> None:
        reason = ""
        while not reason:
            await asyncio.sleep(self.look_seconds)
            reason = self.verdicts.note(await self._look(process.pid or 0))
        for question in self.verdicts.traffic.silent_for(self.verdicts.idle_seconds):
            question.stuck = True
        logger.error("an engine is stuck and ended", reason=reason)
        process.kill()

    async def _look(self, pid: int) -> Look:
        try:
            busy = await self.busy()
        except UnavailableError:
            busy = None
        return Look(self.verdicts.traffic.monotonic(), busy, await asyncio.to_thread(cpu_seconds_of, pid))


def cpu_seconds_of(pid: int) -> float:
    """The processor time of one process so far (proc(5): utime and stime in `stat`); 0 when it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

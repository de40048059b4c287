"""Whether a schema can be compiled without harm: tried in a child with limits before it is compiled here (S25).

llguidance is native code, and strangers write the schemas. Some were found that ended its process, took all memory, or
computed for seconds; `schema_cost.py` refuses those in words, and this is for those that nobody has found yet.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import resource
import sys
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

import orjson

from inference_service.answers.binding import Binding, Part
from jan.errors import InvalidArgumentError, UnavailableError
from jan.telemetry import get_logger

logger = get_logger(__name__)

CPU_SECONDS: Final = 2
"""An honest schema takes a hundredth of one; what is as heavy as `schema_cost.py` lets by, half of one."""
MEMORY_BYTES: Final = 2**30
_CLOCK_SECONDS: Final = 60.0
_MOST_REMEMBERED: Final = 1024


class SchemaTrial:
    """Tries schemas, one at a time, and remembers the latest: most programs have but a few."""

    def __init__(self, command: Sequence[str] = (sys.executable, "-m", __name__)) -> None:
        """`command` is the child's: `main`."""
        self._command = command
        self._one_at_a_time = asyncio.Lock()
        self._is_harmless: OrderedDict[bytes, bool] = OrderedDict()

    async def check(self, binding: Binding) -> None:
        """Return when it can be compiled, be it to a refusal.

        Raises InvalidArgumentError: not without harm. UnavailableError: it could not be tried.
        """
        told = orjson.dumps(binding)
        digest = hashlib.sha256(told).digest()
        if digest not in self._is_harmless:  # what is known waits for no child
            async with self._one_at_a_time:
                if digest not in self._is_harmless:
                    self._remember(digest, await self._ends_well(told))
        self._is_harmless.move_to_end(digest)
        if not self._is_harmless[digest]:
            message = "No answer can be bound to this schema: it takes too much to compile. Make it simpler."
            raise InvalidArgumentError(message, param=binding.param, code="schema_too_complex")

    def _remember(self, digest: bytes, is_harmless: bool) -> None:
        self._is_harmless[digest] = is_harmless
        if len(self._is_harmless) > _MOST_REMEMBERED:
            self._is_harmless.popitem(last=False)

    async def _ends_well(self, told: bytes) -> bool:
        """Whether a child that compiles it ends well, within its limits. Raises UnavailableError: it does not end."""
        silent = asyncio.subprocess.DEVNULL
        child = await asyncio.create_subprocess_exec(
            *self._command, stdin=asyncio.subprocess.PIPE, stdout=silent, stderr=silent
        )
        try:
            async with asyncio.timeout(_CLOCK_SECONDS):
                await child.communicate(told)
        except TimeoutError:
            raise UnavailableError("The schema could not be tried in time; send the request again.") from None
        finally:
            if child.returncode is None:
                child.kill()
                await child.wait()
        if child.returncode:
            logger.warning("schema harms", ended_with=child.returncode, size_bytes=len(told))
        return child.returncode == 0


def main() -> None:
    """In the child: compile what standard input tells. A schema that is refused in words does no harm."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS + 1))
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
    told = orjson.loads(sys.stdin.buffer.read())
    parts = tuple(Part(**part) for part in told.pop("parts"))
    with contextlib.suppress(InvalidArgumentError):
        Binding(**told, parts=parts).compile()


if __name__ == "__main__":
    main()

"""A child process that answers HTTP: started without a shell, watched, ended with everything it started."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path

from inference_service.engines import guard, tether
from inference_service.engines.log import EngineLog
from inference_service.engines.scratch import sweep
from jan.errors import UnavailableError

ENGINE_CRASHED = "engine_crashed"
"""The code of an UnavailableError that says: something ended the engine's process, so the job may run again."""

_READY_POLL_SECONDS = 0.02
_GUARD_GRACE = timedelta(seconds=10)
_HANDED_DOWN = (
    "PATH",
    "HOME",
    "LANG",
    "LC_ALL",
    "TMPDIR",
    "LD_LIBRARY_PATH",
    "PYTHONPATH",
    "CUDA_VISIBLE_DEVICES",
)
"""An engine sees these of our environment and nothing else: no Redis URL, no admin key."""


class ProcessExitedError(Exception):
    """A child ended while it should have become ready; `lines` are its last words for the engine to explain."""

    def __init__(self, returncode: int, lines: Sequence[str]) -> None:
        """`returncode` is negative for a signal."""
        super().__init__(describe_exit(returncode))
        self.returncode = returncode
        self.lines = tuple(lines)

    @property
    def code(self) -> str:
        """What it is called: a signal came from elsewhere, an exit code is the engine's own decision."""
        return ENGINE_CRASHED if self.returncode < 0 else "engine_start_failed"


class EngineProcess:
    """One child in a process group of its own that cannot outlive this process."""

    def __init__(
        self,
        argv: Sequence[str],
        env: Mapping[str, str],
        log_path: Path,
        *,
        has_children: bool = False,
        scratch_in: Path | None = None,
        poll_seconds: float = _READY_POLL_SECONDS,
        on_line: Callable[[str], None] | None = None,
    ) -> None:
        """`argv` is executed as it stands; `env` is added to the few variables that are handed down.

        has_children: it starts processes that would outlive it, so a guard stays before it. scratch_in: the folder in
        which such a family gets one of its own for temporary files, removed with its shared memory at the end.
        poll_seconds: how often to ask whether it is ready. on_line: told every line of its output, from a thread.
        """
        tie = (guard.__file__, str(os.getpid()), str(scratch_in or "")) if has_children else _tether()
        self._argv = (sys.executable, "-I", "-S", *tie, *argv)
        self._has_guard = has_children
        self._scratch_in = scratch_in
        self._env = {key: os.environ[key] for key in _HANDED_DOWN if key in os.environ} | dict(env)
        self._log = EngineLog(log_path, on_line=on_line)
        self._poll_seconds = poll_seconds
        self._child: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int | None:
        """The child's process id, which is its group's too; None before the start."""
        return self._child.pid if self._child else None

    async def start(self, is_ready: Callable[[], Awaitable[bool]], deadline: timedelta) -> None:
        """Spawn, then return when `is_ready` says so.

        Raises, after ending the child: ProcessExitedError, it ended first; UnavailableError, `deadline` has passed.
        """
        await self._spawn()
        try:
            async with asyncio.timeout(deadline.total_seconds()):
                await self._wait_ready(is_ready)
        except TimeoutError:
            await self.stop()
            message = f"The engine was not ready within {deadline.total_seconds():.0f} s."
            raise UnavailableError(message, code="engine_start_failed", retry_after_seconds=5) from None
        except BaseException:
            await self.stop()
            raise

    async def wait_exit(self) -> int:
        """The child's exit code, negative for a signal, once it has ended."""
        assert self._child is not None
        return await self._child.wait()

    async def last_words(self) -> list[str]:
        """The last lines it wrote; complete once it has ended."""
        return await asyncio.to_thread(self._log.tail)

    async def stop(self, grace: timedelta = timedelta(seconds=5)) -> None:
        """SIGTERM to the group, SIGKILL after `grace`; returns when the child is reaped and its files are gone."""
        if self._child is None:
            return
        if self._has_guard:  # it notes what is shared while all still live, and passes the signal on
            self._signal_guard(signal.SIGTERM)
        else:
            self._signal_group(signal.SIGTERM)
        try:
            if not await self._ends_within(grace) and self._has_guard:
                self.kill()
                await self._ends_within(_GUARD_GRACE)
        finally:
            self._signal_group(signal.SIGKILL)
        await self._child.wait()
        if self._scratch_in is not None:
            await asyncio.to_thread(sweep, self._scratch_in)  # of a guard that was killed

    def kill(self) -> None:
        """End the group at once; `wait_exit` tells when it is done. A guard does it, and cleans up."""
        if self._has_guard:
            self._signal_guard(guard.END_ALL)
        else:
            self._signal_group(signal.SIGKILL)

    async def _ends_within(self, time: timedelta) -> bool:
        assert self._child is not None
        try:
            async with asyncio.timeout(time.total_seconds()):
                await self._child.wait()
        except TimeoutError:
            return False
        return True

    async def _spawn(self) -> None:
        read_fd, write_fd = os.pipe()
        try:
            self._child = await asyncio.create_subprocess_exec(
                *self._argv,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=write_fd,
                stderr=write_fd,
                env=self._env,
                start_new_session=True,
            )
        except BaseException:
            os.close(read_fd)
            raise
        finally:
            os.close(write_fd)
        await asyncio.to_thread(self._log.capture, read_fd)

    async def _wait_ready(self, is_ready: Callable[[], Awaitable[bool]]) -> None:
        assert self._child is not None
        while self._child.returncode is None:
            if await is_ready():
                return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._poll_seconds):
                    await self._child.wait()
        raise ProcessExitedError(self._child.returncode, await self.last_words())

    def _signal_guard(self, number: signal.Signals) -> None:
        """Also one that was stopped with its group hears it."""
        assert self._child is not None
        if self._child.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._child.pid, number)
                os.kill(self._child.pid, signal.SIGCONT)

    def _signal_group(self, number: signal.Signals) -> None:
        """The group may hold workers that outlived the child; without members left there is nobody to signal."""
        assert self._child is not None
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._child.pid, number)


def _tether() -> tuple[str, str]:
    assert tether.__file__ is not None
    return (tether.__file__, str(os.getpid()))


def describe_exit(returncode: int) -> str:
    """How a process ended, in words that go after its name."""
    if returncode >= 0:
        return f"ended with code {returncode}"
    if -returncode == signal.SIGKILL:
        return "was killed (SIGKILL: by hand, or by the system for want of memory)"
    return f"was ended by {signal.Signals(-returncode).name}"

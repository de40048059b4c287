"""What every service's `__main__` does alike: event loop, logs, pid file, signals, exit codes."""

from __future__ import annotations

import asyncio
import fcntl
import gc
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import uvloop

from jan.settings import CommonSettings, SettingsError
from jan.telemetry import configure_logging, get_logger

# sysexits.h: a configuration error. The process manager does not start such a service again.
EXIT_CONFIGURATION = 78

SettingsT = TypeVar("SettingsT")


def run_service(
    name: str,
    read_settings: Callable[[], SettingsT],
    common: Callable[[SettingsT], CommonSettings],
    serve: Callable[[SettingsT, asyncio.Event], Awaitable[None]],
) -> None:
    """Run a service until SIGTERM or SIGINT.

    `serve` is given an event that is set when the service shall stop; it takes no more work, finishes or hands back
    what it has, and returns. Exits 0 then, 78 when a setting cannot be used, 1 when `serve` raises.
    """
    try:
        settings = read_settings()
    except SettingsError as error:
        sys.stderr.write(f"{name}: {error}\n")
        sys.exit(EXIT_CONFIGURATION)
    shared = common(settings)
    configure_logging(name, shared.log_format)
    with pid_file(shared.run_dir, name), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve_until_signal(name, settings, serve))


async def _serve_until_signal(
    name: str, settings: SettingsT, serve: Callable[[SettingsT, asyncio.Event], Awaitable[None]]
) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    logger = get_logger(name)
    logger.info("starting", pid=os.getpid())
    _spare_collector()
    await serve(settings, stop)
    logger.info("stopped")


def _spare_collector() -> None:
    """Keep the garbage collector away from what lives as long as the process: modules, schemas, routes.

    Looking through it again and again stopped every stream of the process for a tenth of a second.
    """
    gc.collect()
    gc.freeze()


@contextmanager
def pid_file(run_dir: Path, name: str) -> Iterator[Path]:
    """Hold `<run dir>/<name>.pid` while the service lives; a left-over file of a killed process is replaced.

    The file is locked, so a second instance exits 1 with a sentence that names the first and leaves its file alone.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    path = run_dir / f"{name}.pid"
    with path.open("a+", encoding="ascii") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = path.read_text(encoding="ascii").strip()
            raise SystemExit(f"{name}: already running with pid {holder}, says {path}.") from None
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)

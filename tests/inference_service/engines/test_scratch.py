"""What an engine with processes of its own leaves behind, however it ends: nothing, and nothing of others is lost."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import psutil
import pytest

from inference_service.engines.process import EngineProcess
from inference_service.engines.scratch import Scratch, sweep

SOON = timedelta(seconds=30)
SHM = Path("/dev/shm")  # where the engine's shared memory lies

# As vLLM does: a file and a socket in its temporary folder, shared memory that it and its child have mapped.
FAMILY = """
import _posixshmem, mmap, os, signal, socket, subprocess, sys, tempfile
fd = _posixshmem.shm_open("/{name}", os.O_CREAT | os.O_RDWR, mode=0o600)
os.ftruncate(fd, 4096)
held = mmap.mmap(fd, 4096)
open(os.path.join(tempfile.gettempdir(), "vllm_dist_0"), "w").close()
made = socket.socket(socket.AF_UNIX)
made.bind(os.path.join(os.environ["VLLM_RPC_BASE_PATH"], "01234567-0123-0123-0123-012345678901"))
if os.fork() == 0:
    signal.pause()
print("up", os.getpid(), flush=True)
signal.pause()
"""


@pytest.fixture
def name() -> Iterator[str]:
    name = f"psm_{secrets.token_hex(4)}"
    yield name
    (SHM / name).unlink(missing_ok=True)


def argv(name: str) -> list[str]:
    return [sys.executable, "-S", "-c", FAMILY.format(name=name)]


async def started(folder: Path, name: str) -> tuple[EngineProcess, int]:
    """A family of processes that is up, and its server's id."""
    said: list[str] = []
    engines = folder / "engines"
    engines.mkdir()
    process = EngineProcess(
        argv(name), {}, folder / "e.log", has_children=True, scratch_in=engines, on_line=said.append
    )

    async def is_up() -> bool:
        return bool(said)

    await process.start(is_up, SOON)
    (scratch,) = engines.iterdir()
    assert {"vllm_dist_0", "01234567-0123-0123-0123-012345678901"} <= {path.name for path in scratch.iterdir()}
    assert (SHM / name).exists()
    return process, int(said[0].split()[1])


def left(folder: Path, name: str) -> list[Path]:
    return [*(folder / "engines").iterdir(), *SHM.glob(name)]


async def true(asked: Callable[[], bool]) -> None:
    async with asyncio.timeout(SOON.total_seconds()):
        while not await asyncio.to_thread(asked):  # noqa: ASYNC110  # another process writes it
            await asyncio.sleep(0.01)


@pytest.fixture
def folder() -> Iterator[Path]:
    """Short enough for a socket's path."""
    with tempfile.TemporaryDirectory(prefix="jan-") as folder:
        yield Path(folder)


async def test_a_stopped_engine_leaves_nothing(folder: Path, name: str) -> None:
    process, _ = await started(folder, name)
    await process.stop()
    assert left(folder, name) == []


async def test_an_engine_that_heeds_no_sigterm_leaves_nothing(folder: Path, name: str) -> None:
    process, server = await started(folder, name)
    os.kill(server, signal.SIGSTOP)
    await process.stop(grace=timedelta(milliseconds=50))
    assert await process.wait_exit() == -signal.SIGKILL
    assert left(folder, name) == []


async def test_a_killed_engine_leaves_nothing(folder: Path, name: str) -> None:
    process, server = await started(folder, name)
    os.kill(server, signal.SIGKILL)
    await process.wait_exit()
    assert left(folder, name) == []


async def test_an_engine_ended_at_once_leaves_nothing(folder: Path, name: str) -> None:
    process, _ = await started(folder, name)
    process.kill()
    assert await process.wait_exit() == -signal.SIGKILL
    assert left(folder, name) == []


async def test_what_a_killed_guard_leaves_is_removed_by_the_stop(folder: Path, name: str) -> None:
    process, _ = await started(folder, name)
    (scratch,) = (folder / "engines").iterdir()
    await true(lambda: (scratch / "shared").exists() and name in (scratch / "shared").read_text())
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    await process.stop()
    assert left(folder, name) == []


def test_an_engine_whose_parent_was_killed_leaves_nothing(folder: Path, name: str) -> None:
    (folder / "engines").mkdir()
    code = f"""
import asyncio, pathlib
from datetime import timedelta
from inference_service.engines.process import EngineProcess
async def main():
    said = []
    folder = pathlib.Path({str(folder)!r})
    process = EngineProcess({argv(name)!r}, {{}}, folder / "e.log", has_children=True,
                            scratch_in=folder / "engines", on_line=said.append)
    async def ready():
        return bool(said)
    await process.start(ready, timedelta(seconds=30))
    print(process.pid, flush=True)
    await process.wait_exit()
asyncio.run(main())
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=environment) as parent:
        assert parent.stdout is not None
        guard = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
    psutil.wait_procs([guard], timeout=20)
    assert left(folder, name) == []


def test_a_folder_in_use_is_not_swept_and_a_name_that_others_took_is_left_to_them(folder: Path, name: str) -> None:
    scratch = Scratch.make(folder)
    sweep(folder)
    (made,) = folder.iterdir()
    (made / "shared").write_text(f"00:01 1 {name}\n")
    (SHM / name).touch()
    os.close(scratch._lock)
    sweep(folder)
    assert [*folder.iterdir()] == []
    assert (SHM / name).exists()


def test_where_paths_would_be_too_long_the_folder_is_elsewhere(tmp_path: Path) -> None:
    parent = tmp_path / ("long" * 25)
    parent.mkdir()
    scratch = Scratch.make(parent)
    made = Path(scratch.environment()["TMPDIR"])
    assert made.is_dir()
    assert [*parent.iterdir()] == []
    scratch.remove()
    assert not made.exists()

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import psutil
import pytest

from inference_service.engines.log import EngineLog
from inference_service.engines.process import EngineProcess, ProcessExitedError, describe_exit
from jan.errors import UnavailableError

SOON = timedelta(seconds=20)
SLEEP = [sys.executable, "-S", "-c", "import signal; print('up', flush=True); signal.pause()"]


async def ready() -> bool:
    return True


async def never_ready() -> bool:
    return False


def python(code: str) -> list[str]:
    return [sys.executable, "-S", "-c", code]


async def test_an_early_exit_is_told_with_its_last_words(tmp_path: Path) -> None:
    process = EngineProcess(
        python("print('no such tensor'); raise SystemExit(3)"), {}, tmp_path / "logs" / "engine.log"
    )
    with pytest.raises(ProcessExitedError, match="ended with code 3") as caught:
        await process.start(never_ready, SOON)
    assert caught.value.lines == ("no such tensor",)
    assert await asyncio.to_thread((tmp_path / "logs" / "engine.log").read_text) == "no such tensor\n"


async def test_a_start_has_a_deadline_and_leaves_nothing_running(tmp_path: Path) -> None:
    process = EngineProcess(SLEEP, {}, tmp_path / "engine.log")
    with pytest.raises(UnavailableError, match="not ready within"):
        await process.start(never_ready, timedelta(milliseconds=50))
    assert process.pid is not None
    assert not psutil.pid_exists(process.pid)


async def test_a_child_that_ignores_sigterm_is_killed_with_its_children(tmp_path: Path) -> None:
    code = (
        "import signal, subprocess, sys; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        f"subprocess.Popen({SLEEP!r}).wait()"
    )
    log = tmp_path / "engine.log"
    process = EngineProcess(python(code), {}, log)

    async def grandchild_is_up() -> bool:
        return await asyncio.to_thread(lambda: log.exists() and "up" in log.read_text())

    await process.start(grandchild_is_up, SOON)
    assert process.pid is not None
    (grandchild,) = psutil.Process(process.pid).children()
    await process.stop(grace=timedelta(milliseconds=50))
    assert await process.wait_exit() == -signal.SIGKILL
    await asyncio.to_thread(psutil.wait_procs, [grandchild], timeout=10)
    assert not grandchild.is_running() or grandchild.status() == psutil.STATUS_ZOMBIE


FAMILY = (
    "import os, signal, subprocess;"
    f"child = subprocess.Popen({SLEEP!r}, stdout=subprocess.DEVNULL);"
    "print(os.getpid(), child.pid, flush=True);"
)


async def family(tmp_path: Path, code: str = "signal.pause()") -> tuple[EngineProcess, list[psutil.Process]]:
    """An engine with a child of its own, both running under a guard."""
    said: list[str] = []
    process = EngineProcess(python(FAMILY + code), {}, tmp_path / "e.log", has_children=True, on_line=said.append)

    async def has_said() -> bool:
        return bool(said)

    await process.start(has_said, SOON)
    return process, [psutil.Process(int(pid)) for pid in said[0].split()]


async def all_gone(processes: list[psutil.Process]) -> bool:
    await asyncio.to_thread(psutil.wait_procs, processes, timeout=10)
    return not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in processes)


async def test_a_killed_engine_takes_its_children_along(tmp_path: Path) -> None:
    process, members = await family(tmp_path)
    os.kill(members[0].pid, signal.SIGKILL)
    assert await process.wait_exit() == -signal.SIGKILL
    assert await all_gone(members)


async def test_a_stopped_engine_takes_its_children_along(tmp_path: Path) -> None:
    process, members = await family(tmp_path)
    await process.stop()
    assert await process.wait_exit() == -signal.SIGTERM
    assert await all_gone(members)


@pytest.mark.parametrize("victim", ["the server", "the service"])
def test_what_a_killed_engine_left_in_shared_memory_is_removed(tmp_path: Path, victim: str) -> None:
    """As vLLM's server shares memory with its core: a child holds it too, and nobody else knows of it."""
    share = "from multiprocessing.shared_memory import SharedMemory as S; s = S(create=True, size=4096); print(s.name);"
    parent = f"""
import asyncio, pathlib
from datetime import timedelta
from inference_service.engines.process import EngineProcess
async def main():
    said = []
    argv = {python(share + FAMILY + "signal.pause()")!r}
    log = pathlib.Path({str(tmp_path)!r}, "e.log")
    process = EngineProcess(argv, {{}}, log, has_children=True, on_line=said.append)
    async def has_said():
        return len(said) == 2
    await process.start(has_said, timedelta(seconds=20))
    print(process.pid, *said, flush=True)
    await process.wait_exit()
asyncio.run(main())
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, env=environment) as service:
        assert service.stdout is not None
        guard, name, server, _ = service.stdout.readline().decode().split()
        shared = Path("/dev/shm", name)  # where the system keeps it
        assert shared.exists()
        family = [psutil.Process(int(guard)), *psutil.Process(int(guard)).children(recursive=True)]
        os.kill(int(server) if victim == "the server" else service.pid, signal.SIGKILL)
    psutil.wait_procs(family, timeout=10)
    assert not any(member.is_running() and member.status() != psutil.STATUS_ZOMBIE for member in family)
    assert not shared.exists()


async def test_a_killed_guard_takes_all_along_once_it_is_noticed(tmp_path: Path) -> None:
    process, members = await family(tmp_path)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    await process.wait_exit()
    await process.stop()
    assert await all_gone(members)


async def test_an_exit_code_passes_the_guard(tmp_path: Path) -> None:
    process = EngineProcess(python("raise SystemExit(7)"), {}, tmp_path / "e.log", has_children=True)
    with pytest.raises(ProcessExitedError, match="ended with code 7"):
        await process.start(never_ready, SOON)


async def test_a_program_that_is_not_there_is_told(tmp_path: Path) -> None:
    process = EngineProcess(["/no/such/python"], {}, tmp_path / "e.log", has_children=True)
    with pytest.raises(ProcessExitedError) as caught:
        await process.start(never_ready, SOON)
    assert caught.value.lines == ("cannot start /no/such/python: No such file or directory",)


async def test_the_child_sees_little_of_our_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JANROOT_ADMIN_KEY", "secret")
    code = "import os; print(sorted(k for k in os.environ if k.startswith('JANROOT'))); raise SystemExit(0)"
    process = EngineProcess(python(code), {"JANROOT_ENGINE_KEY": "k"}, tmp_path / "engine.log")
    with pytest.raises(ProcessExitedError) as caught:
        await process.start(never_ready, SOON)
    assert caught.value.lines == ("['JANROOT_ENGINE_KEY']",)


async def test_its_arguments_meet_no_shell(tmp_path: Path) -> None:
    argv = [*python("import sys; print(sys.argv[1])"), f"; touch {tmp_path}/owned; $(id)"]
    process = EngineProcess(argv, {}, tmp_path / "engine.log")
    with pytest.raises(ProcessExitedError) as caught:
        await process.start(never_ready, SOON)
    assert caught.value.lines == (f"; touch {tmp_path}/owned; $(id)",)


@pytest.mark.parametrize("has_children", [False, True])
def test_no_engine_outlives_a_killed_parent(tmp_path: Path, has_children: bool) -> None:
    """A parent as the service is one, killed so that no line of it can clean up."""
    code = f"""
import asyncio, pathlib
from datetime import timedelta
from inference_service.engines.process import EngineProcess
async def main():
    process = EngineProcess({SLEEP!r}, {{}}, pathlib.Path({str(tmp_path)!r}, "engine.log"), has_children={has_children})
    async def ready():
        return True
    await process.start(ready, timedelta(seconds=20))
    print(process.pid, flush=True)
    await process.wait_exit()
asyncio.run(main())
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=environment) as parent:
        assert parent.stdout is not None
        engine = psutil.Process(int(parent.stdout.readline()))
        family = [engine, *engine.children(recursive=True)]
        parent.kill()
    psutil.wait_procs(family, timeout=10)
    assert not any(member.is_running() and member.status() != psutil.STATUS_ZOMBIE for member in family)


def test_the_log_is_bounded_and_keeps_the_newest(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "engine.log"
    log = EngineLog(path, max_bytes=1000)
    read_fd, write_fd = os.pipe()
    log.capture(read_fd)
    with os.fdopen(write_fd, "wb") as pipe:
        pipe.writelines(b"line %d\n" % number for number in range(1000))
    assert log.tail()[-1] == "line 999"
    files = sorted(path.parent.iterdir())
    assert [file.name for file in files] == ["engine.log", "engine.log.1"]
    assert all(file.stat().st_size <= 1000 for file in files)
    assert path.read_text().endswith("line 999\n")


@pytest.mark.parametrize(
    ("returncode", "words"), [(0, "ended with code 0"), (-9, "was killed (SIGKILL"), (-11, "was ended by SIGSEGV")]
)
def test_ends_in_words(returncode: int, words: str) -> None:
    assert describe_exit(returncode).startswith(words)

"""What `make up` refuses, each in one sentence; asked of the real folders, sockets and processes."""

import fcntl
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from deploy.local import preflight
from deploy.local.preflight import PreflightError

Starter = Callable[[Path], subprocess.Popen[bytes]]

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A temporary folder with a short name, as sockets lie below it."""
    return tmp_path_factory.mktemp("j")


def up(folder: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    """`make up` as it runs below make, in a run folder and a janroot of its own."""
    ours = {"JANROOT_PATH": f"{folder}/janroot", "JANROOT_RUN_DIR": f"{folder}/run"}
    return subprocess.run(
        [sys.executable, "-m", "deploy.local.up", "--detach"],
        cwd=ROOT,
        env={**os.environ, **ours, **settings},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def the_sentence(result: subprocess.CompletedProcess[str]) -> str:
    """The one line that a refused start says; nothing was started."""
    assert result.returncode == 1
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("janroot: ")
    return line


@contextmanager
def locked(path: Path, text: str) -> Iterator[None]:
    """A file held by another open file description, as by another process."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="ascii")
    with path.open("r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def test_a_busy_port_is_named_with_a_way_out(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        sentence = the_sentence(up(folder, JANROOT_PORT=str(port)))
    assert f"Port {port} on 127.0.0.1 is in use" in sentence
    assert "make up JANROOT_PORT=" in sentence


def test_a_second_start_from_the_same_run_folder_names_the_first(folder: Path) -> None:
    with locked(folder / "run/up.lock", "4711\n"):
        sentence = the_sentence(up(folder))
    assert "(pid 4711)" in sentence
    assert "make down" in sentence


def test_a_detached_instance_is_known_by_its_process_manager(folder: Path, start_idler: Starter) -> None:
    manager = start_idler(folder)
    (folder / "supervisord.pid").write_text(f"{manager.pid}\n", encoding="ascii")
    with pytest.raises(PreflightError, match=rf"already runs .* \(pid {manager.pid}\)"):
        preflight.check_no_other_instance(folder)
    manager.kill()
    manager.wait()
    preflight.check_no_other_instance(folder)


def test_a_pid_used_again_by_a_stranger_is_not_an_instance(folder: Path) -> None:
    (folder / "supervisord.pid").write_text(f"{os.getpid()}\n", encoding="ascii")
    preflight.check_no_other_instance(folder)


def test_a_janroot_held_by_another_storage_service_names_it(folder: Path) -> None:
    with locked(folder / "janroot/.server/lock", "pid 4711 on host elsewhere\n"):
        sentence = the_sentence(up(folder, JANROOT_PORT="1"))
    assert "already in use by pid 4711 on host elsewhere" in sentence


@pytest.mark.parametrize("name", ["JANROOT_PATH", "JANROOT_RUN_DIR"])
def test_a_folder_that_cannot_be_written_is_named(folder: Path, name: str) -> None:
    sentence = the_sentence(up(folder, **{name: "/proc/janroot"}))
    assert f"/proc/janroot ({name}) cannot be written" in sentence


def test_a_run_folder_too_deep_for_sockets_is_told(folder: Path) -> None:
    sentence = the_sentence(up(folder, JANROOT_RUN_DIR=f"{folder}/{'deep' * 30}"))
    assert "set JANROOT_RUN_DIR to a shorter folder" in sentence


def test_a_full_disk_is_told(folder: Path) -> None:
    with pytest.raises(PreflightError, match=rf"The disk of {folder} is full: \d+ MiB are free"):
        preflight.check_free_space(folder, needed_bytes=1 << 60)


def test_an_open_door_is_refused_before_anything_starts(folder: Path) -> None:
    sentence = the_sentence(up(folder, JANROOT_HOST="0.0.0.0", JANROOT_AUTH="none"))
    assert "JANROOT_AUTH=none would let anybody" in sentence


def test_an_address_of_another_machine_is_told(folder: Path) -> None:
    settings = {"JANROOT_HOST": "192.0.2.1", "JANROOT_AUTH": "keys", "JANROOT_ADMIN_KEY": "k" * 40}
    assert "192.0.2.1 is not an address of this machine" in the_sentence(up(folder, **settings))


def test_a_setting_that_is_no_number_is_told(folder: Path) -> None:
    assert "JANROOT_PORT is 'many'" in the_sentence(up(folder, JANROOT_PORT="many"))

"""The process manager's configuration, and processes that end with their parent."""

import configparser
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from deploy.local import processes, readiness, supervision
from deploy.local.settings import LocalSettings

Starter = Callable[[Path], subprocess.Popen[bytes]]


@pytest.fixture
def settings(tmp_path: Path) -> LocalSettings:
    folder = tmp_path / "100% ours"
    (folder / "run/logs").mkdir(parents=True)
    return LocalSettings.from_environment({"JANROOT_PATH": f"{folder}/janroot", "JANROOT_RUN_DIR": f"{folder}/run"})


def programs(settings: LocalSettings) -> dict[str, dict[str, str]]:
    """The services that supervisor is told to run, in its order of starting."""
    config = configparser.RawConfigParser()
    config.read(supervision.write_config(settings))
    sections = {name.removeprefix("program:"): dict(config[name]) for name in config if name.startswith("program:")}
    return dict(sorted(sections.items(), key=lambda item: int(item[1]["priority"])))


def test_redis_starts_first_and_stops_last(settings: LocalSettings) -> None:
    assert list(programs(settings)) == ["redis", "storage_service", "inference_service", "gateway"]


def test_a_redis_of_the_users_own_is_used_instead_of_ours(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    values = {"JANROOT_RUN_DIR": str(tmp_path), "JANROOT_REDIS_URL": "redis://127.0.0.1:6379/3"}
    assert "redis" not in programs(LocalSettings.from_environment(values))


def test_paths_with_spaces_and_percent_signs_survive(settings: LocalSettings) -> None:
    command = shlex.split(programs(settings)["redis"]["command"].replace("%%", "%"))
    assert command[-1] == str(settings.run_dir / "redis.conf")


def test_redis_listens_on_no_port_and_keeps_an_append_only_file(settings: LocalSettings) -> None:
    programs(settings)
    lines = (settings.run_dir / "redis.conf").read_text(encoding="utf-8").splitlines()
    assert {"port 0", "appendonly yes", "appendfsync everysec", "unixsocketperm 700"} <= set(lines)


def test_a_process_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    child_pid = tmp_path / "child.pid"
    child = (
        f"import os, signal; open({str(child_pid)!r}, 'w').write(str(os.getpid())); print(flush=True); signal.pause()"
    )
    launched = [*supervision.LAUNCHER, sys.executable, "-c", child]
    parent = "import subprocess, sys; subprocess.run(sys.argv[1:])"
    environment = {**os.environ, "MARK": f"{tmp_path}/"}
    with subprocess.Popen([sys.executable, "-c", parent, *launched], env=environment, stdout=subprocess.PIPE) as killed:
        assert killed.stdout is not None
        killed.stdout.readline()
        killed.kill()
    pid = processes.read_pid(child_pid)
    assert pid is not None
    assert processes.wait_until_gone(pid, tmp_path, seconds=10)


def test_what_a_killed_manager_left_is_ended_by_pid_file(tmp_path: Path, start_idler: Starter) -> None:
    left = start_idler(tmp_path)
    (tmp_path / "gateway.pid").write_text(f"{left.pid}\n", encoding="ascii")
    (tmp_path / "redis.pid").write_text(f"{os.getpid()}\n", encoding="ascii")
    # A zombie belongs to nobody, so the wait inside ends although this test has not yet reaped it.
    assert processes.end(tmp_path, ["gateway", "redis", "storage_service"], seconds=10) == ["gateway"]
    assert left.wait(timeout=10) == -signal.SIGTERM


def state(name: str, state: str, stopped_at: int, exit_code: int = 1) -> supervision.ServiceState:
    return supervision.ServiceState(name=name, state=state, pid=0, stopped_at=stopped_at, exit_code=exit_code)


def test_a_service_that_ends_three_times_is_given_up() -> None:
    ends = readiness.EarlyEnds()
    assert ends.hopeless([state("gateway", "BACKOFF", 1)]) is None
    assert ends.hopeless([state("gateway", "BACKOFF", 1)]) is None
    assert ends.hopeless([state("gateway", "STARTING", 1)]) is None
    assert ends.hopeless([state("gateway", "BACKOFF", 3), state("redis", "BACKOFF", 3)]) is None
    assert ends.hopeless([state("gateway", "BACKOFF", 6)]) == "gateway"


def test_a_service_that_refuses_its_settings_is_given_up_at_once() -> None:
    assert readiness.EarlyEnds().hopeless([state("gateway", "BACKOFF", 1, exit_code=78)]) == "gateway"


def test_the_last_words_of_a_log_are_shown_once_each(tmp_path: Path) -> None:
    log = tmp_path / "gateway.log"
    log.write_text("Traceback\nValueError: no\n" * 3, encoding="utf-8")
    assert readiness.last_words(log).splitlines()[1:] == ["  Traceback", "  ValueError: no"]
    assert "empty" in readiness.last_words(tmp_path / "none.log")

"""The process manager (supervisor): its configuration, its start, what it says about the services, its end."""

import configparser
import os
import shlex
import subprocess
import sys
import xmlrpc.client
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from supervisor.xmlrpc import SupervisorTransport

from deploy.local import redis_server
from deploy.local.settings import ROOT, LocalSettings, python_module
from jan.service import EXIT_CONFIGURATION

LAUNCHER = [sys.executable, "-I", "-S", str(ROOT / "deploy/local/launcher.py")]

# How long each may take to finish what it does after SIGTERM; the gateway and the engine have answers under way.
STOP_SECONDS = {"redis": 15, "storage_service": 15, "inference_service": 40, "gateway": 40}
# How long a process without its manager may take before it is killed.
LEFTOVER_SECONDS = 10.0
LOG_BYTES = 10 * 1024**2
LOG_BACKUPS = 3


@dataclass(frozen=True, slots=True)
class ServiceState:
    """One process as the manager sees it: STARTING, RUNNING, BACKOFF (died early, tried again soon), EXITED ...

    stopped_at: when it last ended, in seconds since 1970, 0 when it never did. exit_code: how.
    """

    name: str
    state: str
    pid: int
    stopped_at: int
    exit_code: int


def write_config(settings: LocalSettings) -> Path:
    """Write `supervisord.conf` into the run folder and return its path."""
    config = configparser.RawConfigParser()
    config["supervisord"] = {
        "nodaemon": "true",
        "silent": "true",
        "pidfile": _escaped(settings.run_dir / "supervisord.pid"),
        "logfile": _escaped(settings.log_dir / "supervisord.log"),
        "logfile_maxbytes": str(LOG_BYTES),
        "logfile_backups": str(LOG_BACKUPS),
    }
    if os.geteuid() == 0:
        config["supervisord"]["user"] = "root"  # said aloud, or it warns; whoever runs `make up` as root means it
    config["unix_http_server"] = {"file": _escaped(settings.control_socket), "chmod": "0700"}
    config["rpcinterface:supervisor"] = {
        "supervisor.rpcinterface_factory": "supervisor.rpcinterface:make_main_rpcinterface"
    }
    for position, name in enumerate(settings.services):
        config[f"program:{name}"] = _program(name, position, _command(name, settings), settings.log_dir)
    path = settings.run_dir / "supervisord.conf"
    with path.open("w", encoding="utf-8") as file:
        config.write(file)
    return path


def _command(name: str, settings: LocalSettings) -> list[str]:
    if name == "redis":
        return [redis_server.find_binary(), str(redis_server.write_config(settings))]
    return python_module(name)


def _program(name: str, position: int, command: list[str], log_dir: Path) -> dict[str, str]:
    return {
        "command": _escaped(shlex.join([*LAUNCHER, *command])),
        "directory": _escaped(ROOT),
        "priority": str(100 * (position + 1)),  # also the order of stopping, reversed
        # A killed process comes back at once, one that dies while starting after 1, 2, 3 ... seconds, for ever.
        "autorestart": "unexpected",
        "exitcodes": str(EXIT_CONFIGURATION),
        "startsecs": "1",
        "startretries": "1000000",
        "stopsignal": "TERM",
        "stopwaitsecs": str(STOP_SECONDS[name]),
        "killasgroup": "true",
        "redirect_stderr": "true",
        "stdout_logfile": _escaped(log_dir / f"{name}.log"),
        "stdout_logfile_maxbytes": str(LOG_BYTES),
        "stdout_logfile_backups": str(LOG_BACKUPS),
    }


def _escaped(value: object) -> str:
    """A value as supervisor reads it: it takes % for the start of a substitution."""
    return str(value).replace("%", "%%")


def start(config: Path, environment: Mapping[str, str], *, dies_with_us: bool) -> subprocess.Popen[bytes]:
    """Start the manager in a session of its own, out of reach of this terminal's Ctrl-C.

    dies_with_us: whether it shall stop everything when this process is killed.
    """
    command = [*python_module("supervisor.supervisord"), "-c", str(config)]
    with (config.parent / "logs/supervisord.err").open("wb") as complaints:
        return subprocess.Popen(
            [*LAUNCHER, *command] if dies_with_us else command,
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=complaints,
            start_new_session=True,
        )


def stop_seconds(settings: LocalSettings) -> float:
    """How long stopping everything may take at most."""
    return sum(STOP_SECONDS[name] for name in settings.services) + 5.0


def states(control_socket: Path) -> list[ServiceState]:
    """What the manager says about each service; empty while it does not answer."""
    transport = SupervisorTransport(None, None, f"unix://{control_socket}")
    proxy = xmlrpc.client.ServerProxy("http://localhost", transport=transport)
    try:
        rows = proxy.supervisor.getAllProcessInfo()
    except (OSError, xmlrpc.client.Error):
        return []
    assert isinstance(rows, list)
    return [
        ServiceState(
            name=row["name"],
            state=row["statename"],
            pid=row["pid"],
            stopped_at=row["stop"],
            exit_code=row["exitstatus"],
        )
        for row in rows
    ]

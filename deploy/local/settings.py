"""What `make up` must know, read from the same environment variables as the services read."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from jan.settings import CommonSettings, Environment

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class LocalSettings:
    """Where this machine's Janroot lies and listens.

    bind, port: the gateway's socket address. starts_redis: False when JANROOT_REDIS_URL names somebody else's Redis.
    """

    common: CommonSettings
    bind: str
    port: int
    starts_redis: bool

    @classmethod
    def from_environment(cls, values: Mapping[str, str]) -> Self:
        """Read the variables that docs/operations.md lists. Raises SettingsError: a value that cannot be used."""
        environment = Environment(values)
        return cls(
            common=CommonSettings.from_environment(environment),
            bind=environment.text("JANROOT_BIND", environment.text("JANROOT_HOST", "127.0.0.1")),
            port=environment.integer("JANROOT_PORT", 1337, 1, 65535),
            starts_redis=not environment.text("JANROOT_REDIS_URL", ""),
        )

    @property
    def run_dir(self) -> Path:
        """Sockets, pid files, logs and Redis' data."""
        return self.common.run_dir

    @property
    def log_dir(self) -> Path:
        """One log file per process, and the process manager's."""
        return self.run_dir / "logs"

    @property
    def control_socket(self) -> Path:
        """Where the process manager takes questions."""
        return self.run_dir / "control.sock"

    @property
    def address(self) -> str:
        """The host that a client on this machine uses."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.bind, self.bind)  # noqa: S104 (read, not bound)
        return f"[{host}]" if ":" in host else host

    @property
    def url(self) -> str:
        """The gateway's address for a client on this machine."""
        return f"http://{self.address}:{self.port}"

    @property
    def services(self) -> tuple[str, ...]:
        """The processes in the order in which they start; they stop in the reverse order."""
        ours = ("storage_service", "inference_service", "gateway")
        return ("redis", *ours) if self.starts_redis else ours

    def environment(self, values: Mapping[str, str]) -> dict[str, str]:
        """The environment for the process manager and all below it: the user's, with the folders made absolute."""
        return {
            **values,
            "JANROOT_PATH": str(self.common.janroot),
            "JANROOT_RUN_DIR": str(self.run_dir),
            "PYTHONUNBUFFERED": "1",
        }


def python_module(module: str) -> list[str]:
    """The command that runs one of our modules under this Python."""
    return [sys.executable, "-m", module]

"""Reading settings once, from a mapping of the environment.

Each service has one frozen settings class built with these readers. A value that cannot be used is told in one
sentence that names the variable, what it holds and what it may hold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

# Linux keeps 108 bytes for the path of a unix socket, the closing NUL included (unix(7)).
MAX_SOCKET_PATH_BYTES = 107


class SettingsError(Exception):
    """A setting that cannot be used, in one sentence for the person who typed it."""


@dataclass(frozen=True, slots=True)
class Environment:
    """Typed access to environment variables; an empty value counts as absent."""

    values: Mapping[str, str]

    def text(self, name: str, default: str) -> str:
        """The variable as it stands, without surrounding space."""
        return self.values.get(name, "").strip() or default

    def choice(self, name: str, default: str, allowed: Sequence[str]) -> str:
        """One of the allowed words."""
        value = self.text(name, default)
        if value not in allowed:
            raise SettingsError(f"{name} is {value!r}, but must be one of: {', '.join(allowed)}.")
        return value

    def integer(self, name: str, default: int, minimum: int, maximum: int) -> int:
        """A whole number between two bounds, both included."""
        value = self.text(name, str(default))
        try:
            number = int(value)
        except ValueError:
            raise SettingsError(f"{name} is {value!r}, but must be a whole number.") from None
        if not minimum <= number <= maximum:
            raise SettingsError(f"{name} is {number}, but must be between {minimum} and {maximum}.")
        return number

    def path(self, name: str, default: str) -> Path:
        """A file or folder, made absolute."""
        return Path(self.text(name, default)).expanduser().absolute()


@dataclass(frozen=True, slots=True)
class CommonSettings:
    """What every service is told: where things lie, where the others listen, how to log."""

    janroot: Path
    run_dir: Path
    redis_url: str
    storage_addr: str
    inference_addr: str
    log_format: str

    @classmethod
    def from_environment(cls, environment: Environment) -> Self:
        """Read the shared variables; see docs/operations.md for their meaning.

        Raises SettingsError: a value that cannot be used.
        """
        run_dir = environment.path("JANROOT_RUN_DIR", "./run")
        redis_url = environment.text("JANROOT_REDIS_URL", f"unix://{run_dir}/redis.sock")
        storage_addr = environment.text("JANROOT_STORAGE_ADDR", f"unix:{run_dir}/storage_service.sock")
        inference_addr = environment.text("JANROOT_INFERENCE_ADDR", f"unix:{run_dir}/inference_service.sock")
        for name, address in (
            ("JANROOT_REDIS_URL", redis_url),
            ("JANROOT_STORAGE_ADDR", storage_addr),
            ("JANROOT_INFERENCE_ADDR", inference_addr),
        ):
            check_socket_path(name, address)
        return cls(
            janroot=environment.path("JANROOT_PATH", "./janroot"),
            run_dir=run_dir,
            redis_url=redis_url,
            storage_addr=storage_addr,
            inference_addr=inference_addr,
            log_format=environment.choice("JANROOT_LOG", "text", ("text", "json")),
        )


def check_socket_path(name: str, address: str) -> None:
    """Refuse a unix address whose path the kernel would cut off.

    Raises SettingsError: the path is longer than a unix socket's may be.
    """
    for part in address.split(","):
        scheme, _, path = part.partition(":")
        path = "/" + path.lstrip("/") if path.startswith("//") else path
        if scheme == "unix" and len(path.encode()) > MAX_SOCKET_PATH_BYTES:
            raise SettingsError(
                f"The socket path {path} of {name} is longer than {MAX_SOCKET_PATH_BYTES} bytes; "
                "set JANROOT_RUN_DIR to a shorter folder."
            )

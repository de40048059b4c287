"""What is looked at before anything starts; each finding is one sentence that says what to do.

The services refuse the same things by themselves. Asking first gives the answer at once and in one place.
"""

import errno
import fcntl
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from deploy.local import processes
from deploy.local.settings import LocalSettings
from gateway.settings import GatewaySettings
from inference_service.settings import InferenceSettings
from storage_service.settings import StorageSettings

# Room for the queue, the logs and many conversations; and once for the demo model beside them.
FREE_BYTES = 64 * 1024**2
DEMO_MODEL_BYTES = 100 * 1024**2


class PreflightError(Exception):
    """Why Janroot does not start, in one sentence for the person who asked for it."""


def check(settings: LocalSettings) -> None:
    """Look at folders, disk, the janroot's lock and the port. Raises PreflightError: the first finding."""
    janroot = settings.common.janroot
    for name, folder in (("JANROOT_RUN_DIR", settings.run_dir), ("JANROOT_PATH", janroot)):
        check_writable(name, folder)
    check_free_space(settings.run_dir, FREE_BYTES)
    check_free_space(janroot, FREE_BYTES if (janroot / "models").exists() else FREE_BYTES + DEMO_MODEL_BYTES)
    check_janroot_is_free(janroot)
    check_port(settings.bind, settings.port)


def check_settings(values: Mapping[str, str]) -> None:
    """Let each service read its settings as it will when it starts. Raises SettingsError: one refuses them."""
    StorageSettings.from_environment(values)
    InferenceSettings.from_environment(values)
    GatewaySettings.from_environment(values)


def check_writable(name: str, folder: Path) -> None:
    """Make the folder when it is missing, and write in it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"x" * 4096)
            probe.flush()
            os.fsync(probe.fileno())
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise PreflightError(f"The disk of {folder} is full: free some space or set {name} elsewhere.") from None
        reason = os.strerror(error.errno or 0).lower()
        raise PreflightError(f"The folder {folder} ({name}) cannot be written: {reason}.") from None


def check_free_space(folder: Path, needed_bytes: int) -> None:
    """Refuse a disk that would be full soon after the start."""
    free = shutil.disk_usage(folder).free
    if free < needed_bytes:
        has, needs = free // 1024**2, needed_bytes // 1024**2
        raise PreflightError(f"The disk of {folder} is full: {has} MiB are free, {needs} MiB are needed.")


def check_no_other_instance(run_dir: Path) -> None:
    """Refuse a run folder whose process manager lives."""
    running = processes.living(run_dir, ["supervisord"])
    if running:
        pid = running["supervisord"]
        raise PreflightError(f"Janroot already runs from {run_dir} (pid {pid}): stop it with `make down`.")


def check_janroot_is_free(janroot: Path) -> None:
    """Refuse a janroot that a storage service holds, ours or a container's on this host."""
    lock = janroot / ".server/lock"
    if not lock.exists():
        return
    with lock.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = file.read(256).decode(errors="replace").strip() or "a process that gave no name"
            raise PreflightError(
                f"The janroot {janroot} is already in use by {holder}: stop that, or set JANROOT_PATH elsewhere."
            ) from None


def check_port(bind: str, port: int) -> None:
    """Refuse a port that another program listens on, or an address that this machine does not have."""
    family = socket.AF_INET6 if ":" in bind else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((bind, port))
            probe.listen()
        except OSError as error:
            raise PreflightError(_port_finding(bind, port, error)) from None


def _port_finding(bind: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        choose = f"choose another, for example: make up JANROOT_PORT={port + 1 if port < 65535 else 1338}"
        return f"Port {port} on {bind} is in use: stop the program that has it, or {choose}"
    if error.errno == errno.EACCES:
        return f"Port {port} needs special rights: choose one above 1023, for example: make up JANROOT_PORT=1337"
    return (
        f"{bind} is not an address of this machine that the gateway can listen on ({error.strerror}): set JANROOT_HOST."
    )


@contextmanager
def start_lock(run_dir: Path) -> Iterator[None]:
    """Hold the run folder while starting, and in the foreground as long as Janroot runs; two starts exclude each other.

    Raises PreflightError: somebody else holds it.
    """
    check_writable("JANROOT_RUN_DIR", run_dir)
    descriptor = os.open(run_dir / "up.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
            raise PreflightError(
                f"Janroot already runs or starts from {run_dir} (pid {holder}): stop it with `make down`."
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)

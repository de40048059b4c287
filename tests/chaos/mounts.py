"""Small file systems of our own, in a mount namespace of our own: nothing of them is left when the process ends."""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_CLONE_NEWNS = 0x20000
_MS_REC_PRIVATE = 0x4000 | 0x40000


class NoMountsError(Exception):
    """Mounting is not allowed here, or loop devices are missing; the message says which."""


def enter_private_namespace() -> None:
    """From now on mounts are seen by this process and its children only. Call it before any thread starts."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNS) or libc.mount(b"none", b"/", None, _MS_REC_PRIVATE, None):
        raise NoMountsError(f"no mount namespace of our own (root is needed): {os.strerror(ctypes.get_errno())}")


def make_ext4(image: Path, mebibytes: int) -> None:
    """A file that holds an empty ext4. Raises NoMountsError."""
    with image.open("wb") as file:
        file.truncate(mebibytes << 20)
    _run("mkfs.ext4", "-q", "-F", str(image))


@contextmanager
def mounted(place: Path, *words: str) -> Iterator[Path]:
    """Mount at `place`, which is made; `words` are mount's. Raises NoMountsError."""
    place.mkdir(exist_ok=True)
    _run("mount", *words, str(place))
    try:
        yield place
    finally:
        _run("umount", str(place))


def sync(place: Path) -> None:
    """Have the kernel write all it holds of one file system."""
    _run("sync", "-f", str(place))


def _run(*command: str) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except FileNotFoundError:
        raise NoMountsError(f"{command[0]} is needed: apt-get install e2fsprogs mount") from None
    except subprocess.CalledProcessError as error:
        raise NoMountsError(f"{' '.join(command)}: {error.stderr.strip()}") from None

"""Which threads change on disk, told within a moment: a helper process that lets the kernel watch their folders.

`python -m storage_service.watch FOLDER` prints a slash when it watches, then the name of each subfolder below which
something changed, a line each, until its standard input closes. It is a process of its own because setting up 100,000
watches holds Python's lock for three seconds (watchfiles 1.3), and nobody should wait for that. The truth is what
`Census` sees when it looks; where there can be no watch, changes are found a little later.
"""

import contextlib
import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import watchfiles

from jan.errors import InvalidArgumentError
from jan.ids import ThreadId
from jan.telemetry import get_logger

logger = get_logger(__name__)

# A change is told after so long without another one, and after at most so long in all.
_QUIET_MS = 50
_AT_MOST_MS = 500
_WATCHING = "/\n"
# File systems on which the kernel tells of every change. Of one on a network or shared with another kernel (NFS, SMB,
# the folders that Docker Desktop brings in) it tells what was changed from here.
_LOCAL = frozenset({"ext2", "ext3", "ext4", "xfs", "btrfs", "bcachefs", "f2fs", "zfs", "tmpfs", "overlay"})
_MOUNTS = Path("/proc/self/mountinfo")

Identity = tuple[int, int]
"""The device and the number of a folder."""


class Watch:
    """The helper process, and what it told since it was asked last."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._changed: set[ThreadId] = set()
        self._began = False
        self._watching = False
        self._local = False
        self._watched: Identity | None = None
        # One that ends at once, for want of watches, is not started over and over.
        self._rest_seconds = 0.5
        self._next_start = 0.0
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None

    def start(self) -> None:
        """See that the helper runs, on the folder that lies there now; one that ended is started again.

        The kernel's watches stay with a folder that is moved away, wherever it goes: see inotify(7).
        """
        lies_here = _identity(self._folder)
        if self._process is not None and self._process.poll() is None:
            if lies_here == self._watched:
                return
            self.stop()
            with self._lock:
                self._began = True  # what is in another one was told by nobody
        if lies_here is None:
            return  # for a moment, while somebody puts another in its place
        if self._process is not None:
            logger.warning("no watch on threads: changes by hand are noticed later", code=self._process.returncode)
            self.stop()
            self._rest_seconds = min(2 * self._rest_seconds, 600.0)
            self._next_start = time.monotonic() + self._rest_seconds
        if time.monotonic() < self._next_start:
            return
        self._watched = lies_here
        self._local = file_system(self._folder) in _LOCAL
        command = [sys.executable, "-m", "storage_service.watch", str(self._folder)]
        self._process = subprocess.Popen(  # noqa: S603  our own program and folder, no shell
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        self._reader = threading.Thread(target=self._read, args=(self._process,), name="watch reader", daemon=True)
        self._reader.start()

    def changed(self) -> set[ThreadId]:
        """The threads that changed since the last call."""
        with self._lock:
            changed, self._changed = self._changed, set()
            return changed

    def tells_all(self) -> bool:
        """Whether no change below the folder escapes it now."""
        with self._lock:
            return self._watching and self._local

    def began(self) -> bool:
        """Whether it began to watch, or lost its folder, since the last call: what changed before was not told."""
        with self._lock:
            began, self._began = self._began, False
            return began

    def stop(self) -> None:
        """End the helper; without one this does nothing."""
        if self._process is None or self._reader is None:
            return
        self._process.kill()
        self._reader.join()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._process.wait()
        self._process = None

    def _read(self, process: subprocess.Popen[str]) -> None:
        for line in process.stdout or ():
            if line == _WATCHING:
                with self._lock:
                    self._began = self._watching = True
                continue
            try:
                thread_id = ThreadId.parse(line.rstrip("\n"))
            except InvalidArgumentError:
                continue  # Somebody else's folder, or a file between the threads.
            with self._lock:
                self._changed.add(thread_id)
        with self._lock:
            self._watching = False


def _identity(folder: Path) -> Identity | None:
    """What tells a folder from another under its name; None when there is none."""
    try:
        status = folder.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def file_system(folder: Path, mounts: Path = _MOUNTS) -> str:
    """The kind of file system that a folder lies on, in the kernel's word; nothing where the kernel does not tell."""
    place = Path(os.path.realpath(folder))
    found = (Path("/"), "")
    with contextlib.suppress(OSError):
        for line in mounts.read_text().splitlines():
            # proc(5): the fifth field is the mount point, with blanks as octal; the kind follows a lone dash.
            fields, _, kind = line.partition(" - ")
            point = Path(re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), fields.split(" ")[4]))
            if place.is_relative_to(point) and len(point.parts) >= len(found[0].parts):
                found = point, kind.split(" ")[0]
    return found[1]


def main(folder: str) -> None:
    """Print what changes below a folder until standard input closes."""
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    home = os.path.realpath(folder)
    began = False
    for changes in watchfiles.watch(
        home,
        watch_filter=None,
        step=_QUIET_MS,
        debounce=_AT_MOST_MS,
        rust_timeout=_AT_MOST_MS,
        yield_on_timeout=True,
        raise_interrupt=False,
    ):
        names = {os.path.relpath(path, home).split(os.sep, 1)[0] for _, path in changes}
        told = "" if began else _WATCHING
        began = True
        sys.stdout.write(told + "".join(f"{name}\n" for name in names if "\n" not in name))
        sys.stdout.flush()


def _leave_with_parent() -> None:
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1])

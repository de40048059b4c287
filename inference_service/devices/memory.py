"""RAM as the kernel tells it: the machine's, or what the control groups around us leave of it."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

PROC: Final = Path("/proc")
CGROUPS: Final = Path("/sys/fs/cgroup")

# A limit that nobody set reads as "max", or in version 1 as a number near 2^63.
_NO_LIMIT: Final = 2**60
_SHARE_LEFT_TO_OTHERS: Final = 20  # one part in twenty: what else runs here grows too


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes in all, and bytes that new processes may have."""

    total_bytes: int
    available_bytes: int


def ram(own: Collection[int], proc: Path = PROC, cgroups: Path = CGROUPS) -> Memory:
    """The memory that this process and its children may use; what `own` processes hold counts as available.

    One twentieth stays with others, because a machine that is out of memory kills whom it likes.
    """
    found = [_machine(proc), *_limits(proc, cgroups)]
    total = min(memory.total_bytes for memory in found)
    available = min(memory.available_bytes for memory in found) + sum(held_bytes(pid, proc) for pid in own)
    return Memory(total, max(0, min(available, total) - total // _SHARE_LEFT_TO_OTHERS))


def session_members(leaders: Collection[int], proc: Path = PROC) -> frozenset[int]:
    """The processes of the sessions that `leaders` lead: each engine and everything it started."""
    if not leaders or not proc.is_dir():
        return frozenset(leaders)
    pids = [int(entry.name) for entry in proc.iterdir() if entry.name.isdigit()]
    return frozenset(pid for pid in pids if _session(pid, proc) in leaders)


def held_bytes(pid: int, proc: Path = PROC) -> int:
    """What would be free without the process: not the pages of files, which the kernel drops when it needs room."""
    return sum(_status(pid, proc).get(key, 0) for key in ("RssAnon", "RssShmem"))


def resident_bytes(pid: int, proc: Path = PROC) -> int:
    """Everything of a process that is in memory, mapped files too; 0 for one that has ended."""
    return _status(pid, proc).get("VmRSS", 0)


def _machine(proc: Path) -> Memory:
    try:
        fields = _kilobytes((proc / "meminfo").read_text("ascii"))
        return Memory(fields["MemTotal"], fields["MemAvailable"])
    except (OSError, KeyError):  # no Linux: the total must do
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        return Memory(total, total)


def _limits(proc: Path, cgroups: Path) -> Iterator[Memory]:
    """One for each control group above us that limits memory, of either version."""
    try:
        lines = (proc / "self/cgroup").read_text("utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            yield from _walk(cgroups, path, ("memory.max", "memory.current", ""))
        elif "memory" in controllers.split(","):
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_")
            yield from _walk(cgroups / "memory", path, names)


def _walk(root: Path, path: str, names: tuple[str, str, str]) -> Iterator[Memory]:
    """The groups from `path` up to the root; in a container the path may lead outside of what is mounted."""
    limit_name, usage_name, prefix = names
    inside = PurePosixPath(path.lstrip("/"))
    for group in (inside, *inside.parents):
        if ".." in group.parts:
            continue
        try:
            limit = int((root / group / limit_name).read_text("ascii"))
            usage = int((root / group / usage_name).read_text("ascii"))
            stat = dict(line.split() for line in (root / group / "memory.stat").read_text("ascii").splitlines())
        except (OSError, ValueError):
            continue
        if limit < _NO_LIMIT:
            reclaimable = sum(int(stat.get(prefix + name, 0)) for name in ("inactive_file", "active_file"))
            yield Memory(limit, max(0, limit - usage + reclaimable))


def _session(pid: int, proc: Path) -> int:
    try:
        # Behind the name, which may hold anything: state, parent, group, session (proc_pid_stat(5)).
        return int((proc / str(pid) / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()[3])
    except (OSError, IndexError, ValueError):
        return -1


def _status(pid: int, proc: Path) -> dict[str, int]:
    try:
        return _kilobytes((proc / str(pid) / "status").read_text("utf-8", "replace"))
    except OSError:
        return {}


def _kilobytes(text: str) -> dict[str, int]:
    """The fields in kB, as bytes."""
    parts = [line.split() for line in text.splitlines()]
    return {part[0].rstrip(":"): int(part[1]) * 1024 for part in parts if len(part) == 3 and part[2] == "kB"}

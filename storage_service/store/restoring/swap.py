"""The swap of a janroot for another one, done before anything else looks at it.

`.server/restoring/new/` is the janroot to be, `plan.json` beside it says that it is whole and how far the swap is.
Every step is a rename, or harmless to repeat, and the plan moves on only when the steps before are durable: whenever
the process dies, the next start goes on. Without a plan nothing was promised, and the folder is thrown away.

What the janroot held becomes one entry of the trash, under the names that it had. Earlier entries of the trash stay
beside it, to be undone as before, and those of the new janroot join them. `models/` stays where it is and only what is
in it moves: a container that has it mounted would go on looking at the old one.
"""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Self

from jan.errors import FailedPreconditionError
from jan.ids import TrashId
from jan.telemetry import get_logger
from storage_service.store import atomic, jsonfile, layout
from storage_service.store.exports.folders import OpenedFolder
from storage_service.store.exports.rules import KEPT_OF_SERVER, SERVER, STAYS, Kind, Rules
from storage_service.store.exports.walk import LeftOut, Walk
from storage_service.store.records import JsonObject

logger = get_logger(__name__)

_PLAN = "plan.json"
_NEW = "new"
# What says in the trash what took the place of this.
NOTE = "replaced.json"


class _Phase(Enum):
    FETCH = "fetch"
    CARRY = "carry"
    OUT = "out"
    IN = "in"


@dataclass(frozen=True, slots=True)
class Plan:
    """A swap that is to be.

    trash: where the old janroot goes. carry: files that the new one lacks and the old may have. carry_by: the backup's
    rules, when it left out more than it could name: what they leave out of the old one, for folders that the new has.
    fetch: the trash entry that is the new janroot; empty for one that was unpacked.
    """

    trash: str
    carry: tuple[str, ...] = ()
    fetch: str = ""
    phase: _Phase = _Phase.CARRY
    carry_by: Rules | None = None

    @classmethod
    def undoing(cls, entry: TrashId, trash: str) -> Self:
        """The plan that brings back what an earlier one replaced."""
        return cls(trash, fetch=entry, phase=_Phase.FETCH)

    def to_json(self) -> JsonObject:
        """As it is kept."""
        return {
            "trash": self.trash,
            "carry": list(self.carry),
            "carry_by": None if self.carry_by is None else {"weights": self.carry_by.weights},
            "fetch": self.fetch,
            "phase": self.phase.value,
        }

    @classmethod
    def from_json(cls, raw: JsonObject) -> Self:
        """As it was kept. Raises KeyError, TypeError, ValueError: it was not, or not so."""
        rules = raw.get("carry_by")
        return cls(
            raw["trash"],
            tuple(raw["carry"]),
            raw["fetch"],
            _Phase(raw["phase"]),
            None if rules is None else Rules(Kind.BACKUP, weights=rules["weights"]),
        )


def place_of_new(where: layout.Layout) -> Path:
    """Where the janroot to be is built."""
    return where.restoring / _NEW


def promise(where: layout.Layout, plan: Plan) -> None:
    """From now on the next start swaps. Durable on return."""
    atomic.make_dir(where.restoring)
    jsonfile.write(where.restoring / _PLAN, plan.to_json())


def is_promised(where: layout.Layout) -> bool:
    """Whether the next start swaps."""
    return os.path.lexists(where.restoring / _PLAN)


def obstacle(where: layout.Layout) -> str:
    """What of the janroot cannot be moved; empty when all can."""
    home = os.stat(where.root).st_dev
    models = where.models.iterdir() if _is_folder(where.models) else ()
    for path in [*_tops(where.root), *sorted(models), *(where.server / name for name in sorted(KEPT_OF_SERVER))]:
        name = path.relative_to(where.root)
        if os.path.lexists(path) and os.lstat(path).st_dev != home:
            return f"'{name}' is another file system, mounted there"
        if _is_folder(path) and not os.access(path, os.W_OK):
            return f"'{name}' may not be moved by the server: see who owns it"
    return ""


def finish(where: layout.Layout) -> None:
    """Do what was promised, or go on with it; else throw away what is left of a restore that broke off.

    Only under the lock, before anything is read. Raises OSError: something cannot be moved; the next start tries again.
    FailedPreconditionError: nobody can tell what was promised, and either janroot may be in either place.
    """
    if not os.path.lexists(where.restoring):
        return
    if not is_promised(where):
        logger.warning("a restore that broke off is removed")
        atomic.remove_tree(where.restoring)
        return
    plan = _kept_plan(where)
    logger.info("swapping the janroot for another", old=f".server/trash/{plan.trash}", phase=plan.phase.value)
    swap = _Swap(where, plan)
    if plan.phase is _Phase.FETCH:
        swap.fetch()
    if swap.plan.phase is _Phase.CARRY:
        swap.carry()
    if swap.plan.phase is _Phase.OUT:
        swap.move_out()
    swap.move_in()


def _kept_plan(where: layout.Layout) -> Plan:
    path = where.restoring / _PLAN
    try:
        return Plan.from_json(jsonfile.read(path) or {})
    except (KeyError, TypeError, ValueError):
        raise FailedPreconditionError(
            f"{path} says how far a restore is, and cannot be read. Put it back from a copy, or look into"
            f" {place_of_new(where)} and {where.trash} for what is missing; then remove {where.restoring}."
        ) from None


class _Swap:
    def __init__(self, where: layout.Layout, plan: Plan) -> None:
        self.plan = plan
        self._where = where
        self._new = place_of_new(where)
        self._old = where.trash / plan.trash
        self._touched: set[Path] = set()

    def fetch(self) -> None:
        """Take the janroot to be out of the trash."""
        source = self._where.trash / self.plan.fetch
        if os.path.lexists(source):
            self._move(source, self._new)
        (self._new / SERVER / NOTE).unlink(missing_ok=True)
        self._go_on(_Phase.CARRY)

    def carry(self) -> None:
        """Give the new janroot what the backup left out and the old one has: a second name for the same file."""
        for place in self._left_out():
            source, target = self._where.root / place, self._new / place
            if not os.path.lexists(target) and (source.is_symlink() or source.is_file()):
                self._carry(place, source, target)
        self._go_on(_Phase.OUT)

    def move_out(self) -> None:
        """Move all that the janroot holds into the trash."""
        atomic.make_dir(self._old / SERVER)
        jsonfile.write(self._old / SERVER / NOTE, {"replaced_by": "restore"})
        for path in _tops(self._where.root):
            if path == self._where.models and _is_folder(path):
                atomic.make_dir(self._old / path.name)
                shutil.copymode(path, self._old / path.name)
                self._move_all(path, self._old / path.name)
            else:
                self._move(path, self._old / path.name)
        for home in self._kept(self._where.server):
            if home != self._where.trash:
                self._move_all(home, self._old / SERVER / home.name)
        self._go_on(_Phase.IN)

    def move_in(self) -> None:
        """Move the new janroot to its place."""
        for path in _tops(self._new):
            target = self._where.root / path.name
            if target == self._where.models and _is_folder(path) and _is_folder(target):
                shutil.copymode(path, target)
                for inner in sorted(path.iterdir()):
                    self._replace(inner, target / inner.name)
            else:
                self._replace(path, target)
        for home in self._kept(self._new / SERVER):
            if home.name == self._where.trash.name:
                self._move_trash_in(home)
            else:
                self._move_all(home, self._where.server / home.name)
        self._sync()
        atomic.remove_tree(self._where.index)
        atomic.rename(self._where.restoring, self._where.staging / self.plan.trash)
        atomic.remove_tree(self._where.staging / self.plan.trash)
        logger.info("the janroot is another one", old=f".server/trash/{self.plan.trash}")

    def _left_out(self) -> Iterator[str]:
        yield from self.plan.carry
        if self.plan.carry_by is None:
            return
        with OpenedFolder.at(self._where.root) as root:
            for found in Walk(root, self.plan.carry_by).everything():
                if isinstance(found, LeftOut) and found.reason in STAYS and self._has_place_for(found.place):
                    yield found.place

    def _has_place_for(self, place: str) -> bool:
        return place.split("/", maxsplit=1)[0] != SERVER and (self._new / place).parent.is_dir()

    def _carry(self, place: str, source: Path, target: Path) -> None:
        parents = [self._where.root / parent for parent in Path(place).parents]
        if any(map(os.path.islink, parents)):
            return
        atomic.make_dir(target.parent)
        times = os.stat(target.parent)
        try:
            os.link(source, target, follow_symlinks=False)
        except OSError:
            # No links on this file system, or no right to: the old janroot does without it then.
            self._move(source, target)
        os.utime(target.parent, ns=(times.st_atime_ns, times.st_mtime_ns))
        self._touched.add(target.parent)

    def _kept(self, server: Path) -> Iterator[Path]:
        return (server / name for name in sorted(KEPT_OF_SERVER) if _is_folder(server / name))

    def _move_all(self, home: Path, target: Path) -> None:
        """Move what is in a folder."""
        for path in sorted(home.iterdir()):
            atomic.make_dir(target)
            self._move(path, target / path.name)

    def _move_trash_in(self, home: Path) -> None:
        """Let the new janroot's trash join what is there.

        A deletion that both know stays as it lies here, with the weights that a backup may lack. The other copy goes
        away with the plan, unless something that it has is missing here: then to the old janroot.
        """
        for path in sorted(home.iterdir()):
            here = self._where.trash / path.name
            if not os.path.lexists(here):
                self._move(path, here)
            elif not _names_in(path) <= _names_in(here):
                atomic.make_dir(self._old / SERVER / home.name)
                self._move(path, self._old / SERVER / home.name / path.name)

    def _replace(self, source: Path, target: Path) -> None:
        """Move to a place that is free, or that another program took meanwhile: that goes to the old janroot."""
        if os.path.lexists(target):
            self._move(target, self._old / target.name)
        self._move(source, target)

    def _move(self, source: Path, target: Path) -> None:
        """Move, under a longer name when there is one like it."""
        number = 2
        place = target
        while os.path.lexists(place):
            place = target.with_name(f"{target.name}.{number}")
            number += 1
        atomic.move(source, place)
        self._touched |= {source.parent, place.parent}

    def _go_on(self, phase: _Phase) -> None:
        self._sync()
        self.plan = replace(self.plan, phase=phase)
        promise(self._where, self.plan)

    def _sync(self) -> None:
        for folder in self._touched:
            atomic.sync_dir(folder)
        self._touched.clear()


def _tops(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.name != SERVER)


def _names_in(path: Path) -> set[str]:
    """The names in a folder; a file's own."""
    return {inner.name for inner in path.iterdir()} if _is_folder(path) else {path.name}


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()

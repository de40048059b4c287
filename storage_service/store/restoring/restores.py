"""One restore at a time: the archive comes in, is checked and unpacked, and the swap is promised."""

import threading
from contextlib import closing
from dataclasses import dataclass

from jan.errors import ConflictError, FailedPreconditionError
from jan.ids import TrashId
from storage_service.store import atomic, layout, trash
from storage_service.store.archive import check_room
from storage_service.store.records import TrashEntry
from storage_service.store.restoring import swap
from storage_service.store.restoring.backup import Backup, Contents
from storage_service.store.restoring.swap import Plan
from storage_service.store.trash import Trash


@dataclass(frozen=True, slots=True)
class Restored:
    """What a backup holds, and the trash entry that the old janroot becomes at the next start; empty when it stays."""

    contents: Contents
    trash_id: str


class Restore:
    """An archive on its way in, nothing on disk before its first bytes. Ends with `discard`, whatever came before."""

    def __init__(self, where: layout.Layout, bin_: Trash, done: "threading.Semaphore") -> None:
        self._where = where
        self._trash = bin_
        self._turn = done
        self._has_turn = True
        self._draft: atomic.Draft | None = None

    def write(self, data: bytes) -> None:
        """Add bytes. Raises StorageFullError: no room. Discard it then."""
        if self._draft is None:
            self._draft = atomic.Draft(self._where.staging / "restore.zip")
        self._draft.write(data)

    def finish(self, *, dry_run: bool) -> Restored:
        """Check all of the archive; unless that is all that is wanted, have the next start swap the janroot for it.

        Raises InvalidArgumentError, StorageFullError: nothing is changed, and nothing left once it is discarded.
        """
        if self._draft is None:
            self.write(b"")
        assert self._draft is not None
        with closing(Backup(self._draft.path)) as backup:
            contents = backup.contents()
            if dry_run:
                backup.check()
                return Restored(contents, "")
            self._unpack(backup)
        # Moved whole while nobody looks: the archive is not needed any more, but its room may be.
        self._draft.discard()
        name = self._trash.new_name(trash.JANROOT)
        swap.promise(self._where, Plan(name, carry=contents.left_out))
        return Restored(contents, name)

    def discard(self) -> None:
        """Leave nothing behind but what was promised; no error a second time."""
        if self._draft is not None:
            self._draft.discard()
        if not swap.is_promised(self._where):
            atomic.remove_tree(self._where.restoring)
        if self._has_turn:
            self._has_turn = False
            self._turn.release()

    def _unpack(self, backup: Backup) -> None:
        _check_movable(self._where)
        atomic.make_dir(self._where.restoring)
        backup.unpack(swap.place_of_new(self._where))
        atomic.sync_dir(self._where.restoring)


class Restores:
    """Take backups back, and undo that."""

    def __init__(self, where: layout.Layout, bin_: Trash) -> None:
        self._where = where
        self._trash = bin_
        self._turn = threading.Semaphore()

    def check(self, archive_bytes: int, *, dry_run: bool) -> None:
        """See whether an archive of this length may come: it lies here twice for a while, packed and unpacked.

        Raises StorageFullError, ConflictError; FailedPreconditionError: something of the janroot cannot be moved.
        """
        self._take_turn()
        self._turn.release()
        check_room(self._where.server, archive_bytes if dry_run else 2 * archive_bytes)
        _check_movable(self._where)

    def begin(self) -> Restore:
        """Start a restore. Raises ConflictError: one is under way, or waits for the next start."""
        self._take_turn()
        return Restore(self._where, self._trash, self._turn)

    def check_idle(self) -> None:
        """See that nothing of the trash is needed by the next start. Raises ConflictError."""
        if swap.is_promised(self._where):
            raise _waits()

    def undo(self, trash_id: TrashId) -> TrashEntry:
        """Have the next start bring back what a restore replaced. Raises NotFoundError, ConflictError."""
        entry = self._trash.get(trash_id)
        self._take_turn()
        try:
            _check_movable(self._where)
            atomic.remove_tree(self._where.restoring)
            swap.promise(self._where, Plan.undoing(trash_id, self._trash.new_name(trash.JANROOT)))
        finally:
            self._turn.release()
        return entry

    def _take_turn(self) -> None:
        if not self._turn.acquire(blocking=False):
            raise ConflictError("Another restore is under way.")
        if swap.is_promised(self._where):
            self._turn.release()
            raise _waits()


def _waits() -> ConflictError:
    return ConflictError("A restore waits for the storage service to start again.")


def _check_movable(where: layout.Layout) -> None:
    obstacle = swap.obstacle(where)
    if obstacle:
        raise FailedPreconditionError(f"The janroot cannot be replaced: {obstacle}.")

"""One restore at a time: the archive comes in, is checked and unpacked, and the swap is promised."""

import threading
from contextlib import closing

from jan.errors import ConflictError, FailedPreconditionError
from jan.ids import TrashId
from storage_service.store import atomic, layout, trash
from storage_service.store.archive import check_room
from storage_service.store.exports.rules import Kind, Rules
from storage_service.store.records import TrashEntry
from storage_service.store.restoring import swap
from storage_service.store.restoring.backup import Backup, Contents
from storage_service.store.restoring.swap import Plan
from storage_service.store.trash import Trash


class Restore:
    """An archive on its way in, nothing on disk before its first bytes. Ends with `discard`, whatever came before.

    `check` it, or `unpack` and then `promise` it. Two calls, since unpacking may take longer than its caller stays.
    """

    def __init__(self, where: layout.Layout, restores: "Restores", name: str) -> None:
        self._upload = where.staging / name
        self._where = where
        self._restores = restores
        self._has_turn = True
        self._draft: atomic.Draft | None = None

    def write(self, data: bytes) -> None:
        """Add bytes. Raises StorageFullError: no room. Discard it then."""
        if self._draft is None:
            self._draft = atomic.Draft(self._upload)
        self._draft.write(data)

    def check(self) -> Contents:
        """Read all of the archive. Raises InvalidArgumentError."""
        with closing(self._backup()) as backup:
            backup.check()
            return backup.contents()

    def unpack(self) -> Contents:
        """Make the janroot to be, durably, beside the one that is; nothing is left of it once this is discarded.

        Raises InvalidArgumentError, StorageFullError; FailedPreconditionError: the janroot cannot be moved.
        """
        with closing(self._backup()) as backup:
            _check_movable(self._where)
            atomic.make_dir(self._where.restoring)
            backup.unpack(swap.place_of_new(self._where))
            atomic.sync_dir(self._where.restoring)
            contents = backup.contents()
        # Moved whole while nobody looks: the archive is not needed any more, but its room may be.
        if self._draft is not None:
            self._draft.discard()
        return contents

    def promise(self, contents: Contents) -> str:
        """Have the next start swap the janroot for what was unpacked; answers the trash entry that the old one becomes.

        Whoever asks for that must see to a start: what is written before goes to the trash with the rest.
        """
        name = self._restores.new_name()
        unnamed = None if contents.names_all else Rules(Kind.BACKUP, weights=contents.weights)
        self._restores.promise(Plan(name, carry=contents.left_out, carry_by=unnamed))
        return name

    def discard(self) -> None:
        """Leave nothing behind but what was promised. Does nothing a second time: all is the next one's by then."""
        if not self._has_turn:
            return
        self._has_turn = False
        try:
            if self._draft is not None:
                self._draft.discard()
            if not swap.is_promised(self._where):
                atomic.remove_tree(self._where.restoring)
        finally:
            self._restores.end_turn()

    def _backup(self) -> Backup:
        if self._draft is None:
            self.write(b"")
        assert self._draft is not None
        return Backup(self._draft.path)


class Restores:
    """Take backups back, and undo that."""

    def __init__(self, where: layout.Layout, bin_: Trash) -> None:
        self.is_promised = False
        """Whether the next start swaps: nobody may be served for long by then. A look at it needs no file."""
        self._where = where
        self._trash = bin_
        self._turn = threading.Semaphore()
        self._count = 0

    def check(self, archive_bytes: int, *, dry_run: bool) -> None:
        """See whether an archive of this length may come: it lies here twice for a while, packed and unpacked.

        Raises StorageFullError, ConflictError; FailedPreconditionError: something of the janroot cannot be moved.
        """
        self._take_turn()
        self.end_turn()
        check_room(self._where.server, archive_bytes if dry_run else 2 * archive_bytes)
        _check_movable(self._where)

    def begin(self) -> Restore:
        """Start a restore. Raises ConflictError: one is under way, or waits for the next start."""
        self._take_turn()
        self._count += 1
        return Restore(self._where, self, f"restore-{self._count}.zip")

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
            self.promise(Plan.undoing(trash_id, self.new_name()))
        finally:
            self.end_turn()
        return entry

    def new_name(self) -> str:
        """A name in the trash for a janroot."""
        return self._trash.new_name(trash.JANROOT)

    def promise(self, plan: Plan) -> None:
        """Have the next start swap. For who has the turn."""
        try:
            swap.promise(self._where, plan)
        finally:
            self.is_promised = swap.is_promised(self._where)

    def end_turn(self) -> None:
        """Let the next one begin. For who has the turn."""
        self._turn.release()

    def _take_turn(self) -> None:
        if not self._turn.acquire(blocking=False):
            raise ConflictError("Another restore is under way.")
        if swap.is_promised(self._where):
            self.end_turn()
            raise _waits()


def _waits() -> ConflictError:
    return ConflictError("A restore waits for the storage service to start again.")


def _check_movable(where: layout.Layout) -> None:
    obstacle = swap.obstacle(where)
    if obstacle:
        raise FailedPreconditionError(f"The janroot cannot be replaced: {obstacle}.")

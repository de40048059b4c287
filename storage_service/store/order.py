"""The folders of one collection in order of creation, kept in step with what people do to it by hand."""

import os
import threading
import time
from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import Generic, TypeVar

from jan.errors import InvalidArgumentError
from jan.ids import Id
from jan.telemetry import get_logger
from storage_service.store.paging import Page, PageQuery, cut

logger = get_logger(__name__)

IdT = TypeVar("IdT", bound=Id)
NamesOf = Callable[["os.DirEntry[str]"], Iterable[str]]

# Time of creation, then name. The name only decides between foreign folders of the same millisecond: `claim_ms`
# gives ours a millisecond each. Shorter names first, so that `-2` comes before `-10`.
_Key = tuple[int, int, str]

# What a reader who is helped takes upon itself: reading a folder costs some 40 us, a scan of 5,000 names 4 ms.
_GLANCE_ITEMS = 256
_GLANCE_FOLDERS = 5_000

# How long a scan is believed when our own changes moved the home's mtime: a scan of 100,000 folders takes 70 ms.
_TRUST_SECONDS = 2.0
# File times move in steps of the kernel's tick (4 ms with HZ=250): a change right after a scan may not show in them.
_MTIME_STEP_NS = 20_000_000


def folder_name(entry: "os.DirEntry[str]") -> list[str]:
    """The name of a folder; nothing for anything else."""
    return [entry.name] if entry.is_dir(follow_symlinks=False) else []


class CreationOrder(Generic[IdT]):
    """An index of a folder's subfolders: their ids by time of creation. Safe to use from several threads.

    `created_ms` reads one item's time of creation from disk and answers None when the folder holds no item. `names_of`
    tells which items an entry of the home may stand for. `helped`: somebody calls `notice` and `reread` all the time,
    so a reader of a large collection need not wait for everything.
    """

    def __init__(
        self,
        home: Path,
        id_type: type[IdT],
        created_ms: Callable[[IdT], int | None],
        names_of: NamesOf = folder_name,
        *,
        helped: bool = False,
    ) -> None:
        self._home = home
        self._id_type = id_type
        self._created_ms = created_ms
        self._names_of = names_of
        self._helped = helped
        self._lock = threading.RLock()
        self._created: dict[IdT, int] = {}
        self._keys: list[_Key] = []
        self._claimed: set[int] = set()
        # Folders that were found and not read yet, and those that held no item when they were read.
        self._unread: dict[IdT, None] = {}
        self._hollow: set[IdT] = set()
        self._scanned_mtime_ns = -1
        self._known_mtime_ns = -1
        self._scanned_at = 0.0

    def restore(self, created: Mapping[IdT, int]) -> None:
        """Begin with what an earlier process knew; `notice` finds out what came and went since."""
        with self._lock:
            self._created = dict(created)
            self._claimed = set(created.values())
            self._keys = sorted(_key(item_id, created_ms) for item_id, created_ms in created.items())

    def created(self) -> dict[IdT, int]:
        """Every item's time of creation, as far as it is known."""
        with self._lock:
            return dict(self._created)

    def notice(self) -> None:
        """Look which folders came or went by hand. New ones are listed once they were read."""
        with self._lock:
            before = set(self._created)
            if self._is_known(os.stat(self._home).st_mtime_ns):
                return
        found = self._scan()
        with self._lock:
            # Those that were put meanwhile are no matter of this scan.
            for gone in before - found:
                self.drop(gone)
            self._hollow &= found
            new = found - self._created.keys() - self._hollow
            self._unread = dict.fromkeys(sorted(new, key=_newest_name, reverse=True))

    def folders(self) -> list[IdT]:
        """Every folder that is known, the newest names first."""
        with self._lock:
            known = {*self._created, *self._unread, *self._hollow}
        return sorted(known, key=_newest_name, reverse=True)

    def ids(self) -> list[IdT]:
        """Every id, oldest first, however long it takes to read the folders that nobody read yet."""
        self.notice()
        with self._lock:
            unread = [*self._unread, *self._hollow]
        for item_id in unread:
            self.reread(item_id)
        with self._lock:
            return [self._id_type(key[2]) for key in self._keys]

    def reread(self, item_id: IdT) -> None:
        """Give a folder its place by what it holds now, or none. One that goes meanwhile is found out by its reader."""
        created_ms = self._created_ms(item_id)
        with self._lock:
            self._unread.pop(item_id, None)
            if created_ms is None:
                self.drop(item_id)
                self._hollow.add(item_id)
            else:
                self.put(item_id, created_ms)

    def page(self, query: PageQuery) -> Page[IdT]:
        """One page of ids, after a glance at the folder. Raises InvalidArgumentError: see `paging.cut`."""
        with self._lock:
            self._glance()
            page = cut(self._keys, query, self._index)
            return Page(tuple(self._id_type(key[2]) for key in page.items), page.has_more)

    def claim_ms(self, now_ms: int) -> int:
        """A time of creation that no other item has: now, or the next free millisecond."""
        with self._lock:
            while now_ms in self._claimed:
                now_ms += 1
            self._claimed.add(now_ms)
            return now_ms

    def put(self, item_id: IdT, created_ms: int) -> bool:
        """Give an item its place; False when it stood there already."""
        with self._lock:
            if self._created.get(item_id) == created_ms:
                return False
            self.drop(item_id)
            self._created[item_id] = created_ms
            self._claimed.add(created_ms)
            self._hollow.discard(item_id)
            self._unread.pop(item_id, None)
            insort(self._keys, _key(item_id, created_ms))
            return True

    def drop(self, item_id: IdT) -> None:
        """Forget an item; an unknown one is no error."""
        with self._lock:
            created_ms = self._created.pop(item_id, None)
            if created_ms is not None:
                del self._keys[bisect_left(self._keys, _key(item_id, created_ms))]

    def _index(self, item_id: str) -> int | None:
        cursor = self._id_type(item_id)
        if cursor in self._unread:
            self.reread(cursor)
        created_ms = self._created.get(cursor)
        return None if created_ms is None else bisect_left(self._keys, _key(item_id, created_ms))

    @contextmanager
    def own_change(self) -> Iterator[None]:
        """Around a change of the home folder that `put` or `drop` tells of: it alone is no reason to scan again."""
        before_ns = os.stat(self._home).st_mtime_ns
        yield
        with self._lock:
            if before_ns == self._known_mtime_ns:
                self._known_mtime_ns = os.stat(self._home).st_mtime_ns

    def _glance(self) -> None:
        """See what came or went by hand, as far as a reader can wait for it."""
        most = _GLANCE_ITEMS if self._helped else None
        if not self._helped or len(self._created) <= _GLANCE_FOLDERS:
            self.notice()
        for item_id in [*islice(self._unread, most), *islice(self._hollow, most)]:
            self.reread(item_id)

    def _is_known(self, mtime_ns: int) -> bool:
        """Whether the home's mtime says that nothing happened since the last scan but our own changes.

        Ours may hide somebody else's of the same instant, so what only they explain is believed for a while.
        """
        if mtime_ns == self._scanned_mtime_ns:
            return True
        return mtime_ns == self._known_mtime_ns and time.monotonic() - self._scanned_at < _TRUST_SECONDS

    def _scan(self) -> set[IdT]:
        mtime_ns = os.stat(self._home).st_mtime_ns
        settled = time.time_ns() - mtime_ns > _MTIME_STEP_NS
        with self._lock:
            self._known_mtime_ns = mtime_ns
            self._scanned_mtime_ns = mtime_ns if settled else -1
            self._scanned_at = time.monotonic()
        with os.scandir(self._home) as entries:
            names = [*chain.from_iterable(map(self._names_of, entries))]
        return {item_id for name in names if (item_id := self._id_of(name)) is not None}

    def _id_of(self, name: str) -> IdT | None:
        item_id = self._id_type(name)
        if item_id in self._created:
            return item_id
        try:
            return self._id_type.parse(name)
        except InvalidArgumentError:
            logger.warning("folder skipped: its name is no id", home=self._home.name, folder=name)
            return None


def _newest_name(item_id: str) -> str:
    """What to read first: Jan's names end with the second they were made in."""
    return item_id.rpartition("_")[2]


def _key(item_id: str, created_ms: int) -> _Key:
    return created_ms, len(item_id), item_id

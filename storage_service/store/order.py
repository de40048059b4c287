"""The folders of one collection in order of creation, kept in step with what people do to it by hand."""

import os
import threading
from bisect import bisect_left, insort
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from jan.errors import InvalidArgumentError
from jan.ids import Id
from jan.telemetry import get_logger
from storage_service.store.paging import Page, PageQuery, cut

logger = get_logger(__name__)

IdT = TypeVar("IdT", bound=Id)

# Time of creation, then name. The name only decides between foreign folders of the same millisecond: `claim_ms`
# gives ours a millisecond each. Shorter names first, so that `-2` comes before `-10`.
_Key = tuple[int, int, str]


class CreationOrder(Generic[IdT]):
    """An index of a folder's subfolders: their ids by time of creation. Safe to use from several threads.

    `created_ms` reads one item's time of creation from disk and answers None when the folder holds no item.
    """

    def __init__(self, home: Path, id_type: type[IdT], created_ms: Callable[[IdT], int | None]) -> None:
        self._home = home
        self._id_type = id_type
        self._created_ms = created_ms
        self._lock = threading.RLock()
        self._created: dict[IdT, int] = {}
        self._keys: list[_Key] = []
        self._claimed: set[int] = set()
        self._hollow: set[IdT] = set()
        self._home_mtime_ns = -1

    def ids(self) -> list[IdT]:
        """Every id, oldest first, after a look at the folder."""
        with self._lock:
            self._look()
            return [self._id_type(key[2]) for key in self._keys]

    def page(self, query: PageQuery) -> Page[IdT]:
        """One page of ids, after a look at the folder. Raises InvalidArgumentError: see `paging.cut`."""
        with self._lock:
            self._look()
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
            insort(self._keys, _key(item_id, created_ms))
            return True

    def drop(self, item_id: IdT) -> None:
        """Forget an item; an unknown one is no error."""
        with self._lock:
            created_ms = self._created.pop(item_id, None)
            if created_ms is not None:
                del self._keys[bisect_left(self._keys, _key(item_id, created_ms))]

    def _index(self, item_id: str) -> int | None:
        created_ms = self._created.get(self._id_type(item_id))
        return None if created_ms is None else bisect_left(self._keys, _key(item_id, created_ms))

    def _look(self) -> None:
        """Take in folders that came or went since the last look; the home's mtime tells whether any did."""
        mtime_ns = os.stat(self._home).st_mtime_ns
        candidates = set(self._hollow)
        if mtime_ns != self._home_mtime_ns:
            found = self._scan()
            for gone in self._created.keys() - found:
                self.drop(gone)
            self._hollow &= found
            candidates |= found - self._created.keys()
            self._home_mtime_ns = mtime_ns
        for item_id in candidates:
            created_ms = self._created_ms(item_id)
            if created_ms is None:
                self._hollow.add(item_id)
            else:
                self.put(item_id, created_ms)

    def _scan(self) -> set[IdT]:
        found = set()
        with os.scandir(self._home) as entries:
            for entry in entries:
                if not entry.is_dir(follow_symlinks=False):
                    continue
                try:
                    found.add(self._id_type.parse(entry.name))
                except InvalidArgumentError:
                    logger.warning("folder skipped: its name is no id", home=self._home.name, folder=entry.name)
        return found


def _key(item_id: str, created_ms: int) -> _Key:
    return created_ms, len(item_id), item_id

"""The ids of what a request makes: the same ones each time a request with an `Idempotency-Key` is sent.

A gateway or storage that is killed between a write and its answer leaves nobody who knows whether it was done. So the
repetition makes the same things again, under the same ids, and storage answers what it has of them already.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import TypeVar

from jan.ids import Id, ThreadId

IdT = TypeVar("IdT", bound=Id)

# 96 bits, as many as an id has that is made up.
_DIGITS = 24


class NewIds:
    """Gives ids out, in an order that is the same each time."""

    def __init__(self, seed: str = "") -> None:
        """`seed`: what is the same for a repetition and for nothing else; without one every id is new."""
        self._seed = seed
        self._given: Counter[str] = Counter()

    @property
    def are_repeatable(self) -> bool:
        """Whether what is made under them may be there already."""
        return bool(self._seed)

    def next(self, kind: type[IdT]) -> IdT:
        """The next id of a kind."""
        if not self._seed:
            return kind.new()
        self._given[kind.kind] += 1
        named = f"{self._seed}\0{kind.kind}\0{self._given[kind.kind]}"
        return kind(kind.prefix + hashlib.sha256(named.encode()).hexdigest()[:_DIGITS])

    def thread(self) -> ThreadId | None:
        """The id of a thread; None where storage is to name it, after its assistant and the time, as Jan does."""
        return self.next(ThreadId) if self._seed else None

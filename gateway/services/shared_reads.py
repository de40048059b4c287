"""Reads that several callers want at once are made once.

A burst of chats asks storage for the same model each. Whoever comes while a read is under way waits for the next one,
together with all others who came meanwhile; so nobody is given what was read before he asked. Only that the other side
is away is told to them at once: they asked while it was.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from jan.errors import DeadlineExceededError, UnavailableError

T = TypeVar("T")

_AWAY = (UnavailableError, DeadlineExceededError)


class SharedReads(Generic[T]):
    """Reads by key. A caller who is cancelled takes nobody along."""

    def __init__(self, read: Callable[[str], Awaitable[T]]) -> None:
        self._read = read
        self._under_way: dict[str, asyncio.Task[T]] = {}
        self._next: dict[str, asyncio.Task[T]] = {}

    async def get(self, key: str) -> T:
        """What is read of the key after this call. Raises what the read raises."""
        task = self._next.get(key)
        if task is None:
            task = asyncio.create_task(self._read_after(self._under_way.get(key), key), name=f"read-{key}")
            task.add_done_callback(_look_at)
            self._next[key] = task
        await asyncio.wait({task})
        return task.result()

    async def _read_after(self, before: asyncio.Task[T] | None, key: str) -> T:
        if before is not None:
            await asyncio.wait({before})
        task = self._next.pop(key)
        if before is not None and not before.cancelled() and isinstance(error := before.exception(), _AWAY):
            raise error
        self._under_way[key] = task
        try:
            return await self._read(key)
        finally:
            if self._under_way.get(key) is task:
                del self._under_way[key]


def _look_at(task: asyncio.Task[T]) -> None:
    """An error that all who asked were cancelled before is nobody's."""
    if not task.cancelled():
        task.exception()

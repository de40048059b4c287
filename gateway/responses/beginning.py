"""What a response's stream waits for before its first byte: until then an input that is too long is still a status."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from types import TracebackType
from typing import Self

from gateway.responses.waiting import ENDS, Event
from gateway.runs import search_item

PATIENCE_SECONDS = 0.5
"""Long enough for a model that is loaded and free to refuse an input; clients wait for the first event as long."""
_BEFORE_THE_MODEL = frozenset({"thread.run.created", "thread.run.queued"})
# A run that searches files is in progress before its model is asked.
_BEFORE_IT_BEHIND_A_SEARCH = _BEFORE_THE_MODEL | {"thread.run.in_progress", search_item.BEGUN, search_item.ENDED}


class Beginning:
    """A run's events, whose first ones may be heard ahead; use as a context."""

    def __init__(self, events: AsyncIterator[Sequence[Event]], *, searches: bool) -> None:
        """searches: the run has files to search first."""
        self._events = events
        self._before = _BEFORE_IT_BEHIND_A_SEARCH if searches else _BEFORE_THE_MODEL
        self._ahead: list[Sequence[Event]] = []
        self._next: asyncio.Future[Sequence[Event] | None] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Nothing is heard any more."""
        if self._next is not None:
            self._next.cancel()
            await asyncio.gather(self._next, return_exceptions=True)

    async def wait(self, seconds: float) -> None:
        """Hear the model's first sign, the end, or that there is other news; at most so long.

        What goes wrong meanwhile is raised by `batches`.
        """
        until = time.monotonic() + seconds
        while not self._is_begun:
            self._next = asyncio.ensure_future(anext(self._events, None))
            await asyncio.wait({self._next}, timeout=until - time.monotonic())
            if not self._next.done() or self._next.exception() is not None:
                return
            batch, self._next = self._next.result(), None
            if batch is None:
                return
            self._ahead.append(batch)

    async def batches(self) -> AsyncIterator[Sequence[Event]]:
        """All of the events. Raises whatever the events raise."""
        for batch in self._ahead:
            yield batch
        if self._next is not None:
            waited, self._next = await self._next, None
            if waited is not None:
                yield waited
        async for batch in self._events:
            yield batch

    @property
    def is_over(self) -> bool:
        """Whether the run's end was heard ahead."""
        return any(name in ENDS for batch in self._ahead for name, _ in batch)

    @property
    def _is_begun(self) -> bool:
        last = self._ahead[-1] if self._ahead else [("thread.run.created", {})]
        return not last or any(name not in self._before for name, _ in last)

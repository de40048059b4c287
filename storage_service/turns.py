"""Who may change what a key names, in order of arrival; requests that wait one behind the other share a turn."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Generic, TypeVar

from jan.errors import JanError

Request = TypeVar("Request")
Result = TypeVar("Result")
TurnT = TypeVar("TurnT", bound="Turn")

# With 128 lines to an fsync the disk is no longer what takes the time; more would only make the first one wait.
MOST_TOGETHER = 128


class Turn:
    """A place in the line for a key; `come` is done once all in front have left."""

    def __init__(self) -> None:
        self.come: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class Batch(Turn, Generic[Request, Result]):
    """A turn that several requests share, each with an outcome of its own."""

    def __init__(self) -> None:
        super().__init__()
        self._waiting: list[tuple[Request, asyncio.Future[Result]]] = []
        self._begun = False

    @property
    def may_grow(self) -> bool:
        """Whether another request may be added."""
        return not self._begun and len(self._waiting) < MOST_TOGETHER

    def add(self, request: Request) -> "asyncio.Future[Result]":
        """Take a request in; answers where its outcome will be. Cancelling that takes back what is not begun."""
        outcome: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((request, outcome))
        return outcome

    def begin(self) -> list[Request]:
        """The requests that somebody still waits for, in order of arrival; no more may join."""
        self._begun = True
        self._waiting = [(request, outcome) for request, outcome in self._waiting if not outcome.done()]
        return [request for request, _ in self._waiting]

    def tell(self, work: "asyncio.Task[Sequence[Result | JanError]]") -> None:
        """Give all who still wait what the work made of their requests, in order of arrival."""
        told, self._waiting = self._waiting, []  # An error's traceback leads here: let no circle come of it.
        error = asyncio.CancelledError() if work.cancelled() else work.exception()
        outcomes = work.result() if error is None else [error] * len(told)
        for (_, waiting), outcome in zip(told, outcomes, strict=True):
            if waiting.done():
                continue  # its caller left meanwhile
            if isinstance(outcome, BaseException):
                waiting.set_exception(outcome)
            else:
                waiting.set_result(outcome)


class Lines:
    """A line for each key: who has it, and behind that one who waits."""

    def __init__(self) -> None:
        self._lines: dict[str, deque[Turn]] = {}

    def __len__(self) -> int:
        return len(self._lines)

    def join(self, key: str, turn: TurnT) -> TurnT:
        """Take the last place; `in_turn` must follow."""
        line = self._lines.setdefault(key, deque())
        line.append(turn)
        if len(line) == 1:
            turn.come.set_result(None)
        return turn

    def open_batch(self, key: str) -> Batch[Any, Any] | None:
        """The batch in the last place, if it may grow. One further in front is closed: nobody is overtaken."""
        line = self._lines.get(key)
        last = line[-1] if line else None
        return last if isinstance(last, Batch) and last.may_grow else None

    @asynccontextmanager
    async def in_turn(self, key: str, turn: Turn) -> AsyncIterator[None]:
        """Wait for a turn, and let the next one come in the end."""
        try:
            await turn.come
            yield
        finally:
            self._leave(key, turn)

    def _leave(self, key: str, turn: Turn) -> None:
        line = self._lines[key]
        was_first = line[0] is turn
        line.remove(turn)
        if not line:
            del self._lines[key]
        elif was_first and not line[0].come.done():  # Done is one that was cancelled: it is about to leave.
            line[0].come.set_result(None)

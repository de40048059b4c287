"""Requests begin one after the other, those of different people in turn.

Two hundred that came in the same moment would each do a little in every round of the event loop, and whoever came
behind them would wait for all. So only one begins in a round, while those that have begun go on; of several people who
wait, each has a turn before the first has another. Who comes alone waits for nothing.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque


class Turns:
    """Made once for the application."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()
        self._is_taken = False

    async def wait(self, who: str) -> None:
        """Return when a request of this person may begin."""
        loop = asyncio.get_running_loop()
        if not self._is_taken:
            self._is_taken = True
            loop.call_soon(self._next)
            return
        turn = loop.create_future()
        self._waiting.setdefault(who, deque()).append(turn)
        await turn

    def _next(self) -> None:
        """Let the next one begin in this round; who has left meanwhile is passed over."""
        while self._waiting:
            who, line = self._waiting.popitem(last=False)
            turn = line.popleft()
            if line:
                self._waiting[who] = line
            if not turn.done():
                turn.set_result(None)
                asyncio.get_running_loop().call_soon(self._next)
                return
        self._is_taken = False

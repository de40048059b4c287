"""What a client that waits for a run hears: its log, and meanwhile its place in the queue and how its model loads."""

from __future__ import annotations

from collections.abc import AsyncIterator

from gateway.queueing.places import LOOK_SECONDS
from gateway.queueing.waiting_room import WaitingRoom
from gateway.runs.log import SILENCE_SECONDS
from gateway.runs.retelling import ALIKE
from jan.queue.subscription import LogEntry, LogSubscription


async def heard(subscription: LogSubscription, room: WaitingRoom) -> AsyncIterator[list[LogEntry]]:
    """What a round's log says; an empty list when there is a comment to tell, and in each silence of a run that spoke.

    Raises as `LogSubscription.batches`.
    """
    async for batch in subscription.batches(LOOK_SECONDS):
        if batch:
            yield batch
            if batch[-1].ends:
                return
            if subscription.cursor > ALIKE:
                break
        elif await room.has_news():
            yield batch
    async for batch in subscription.batches(SILENCE_SECONDS):
        if not batch:
            await room.has_news()
        yield batch

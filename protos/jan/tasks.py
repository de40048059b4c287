"""Background tasks with an owner: started and ended in one place."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager

# Long enough for a clean-up to finish, short enough that a swallowed cancellation is not noticed by people.
_REPEAT_SECONDS = 0.5


@asynccontextmanager
async def background(work: Coroutine[object, object, None], name: str) -> AsyncIterator[asyncio.Task[None]]:
    """Run work beside the body of the context, and end it with the context.

    An error of the work is raised when the context closes.
    """
    task = asyncio.create_task(work, name=name)
    try:
        yield task
    finally:
        await end(task)
        if not task.cancelled():
            task.result()


def first_error(group: ExceptionGroup[Exception]) -> Exception:
    """The first error in a group, as deep as it lies: the group itself only says that there were some."""
    first = group.exceptions[0]
    return first_error(first) if isinstance(first, ExceptionGroup) else first


async def end(*tasks: asyncio.Task[None]) -> None:
    """Cancel tasks and wait until all are over.

    Cancels again what goes on: until Python 3.12 `asyncio.wait_for`, which libraries use, loses a cancellation that
    arrives together with its result (python/cpython#86296). A task group cancels its own tasks only once, so they may
    have to be named beside the task that waits for it.
    """
    while left := [task for task in tasks if not task.done()]:
        for task in left:
            task.cancel()
        await asyncio.wait(left, timeout=_REPEAT_SECONDS)

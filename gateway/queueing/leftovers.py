"""Jobs that nobody wants any more: what they were for has ended, and the gateway died that would have cancelled them.

A Redis that came back with what it held earlier has such jobs too. They would hold an engine until their time is up.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from gateway.queueing.jobs import JobClient
from gateway.queueing.places import QueueClient
from jan.errors import NotFoundError
from jan.telemetry import get_logger

logger = get_logger(__name__)


class LeftJobs:
    """Finds and ends the jobs of one kind; what they are for is in storage, which knows whether it is over."""

    def __init__(self, queue: QueueClient, jobs: JobClient, *prefixes: str) -> None:
        """prefixes: of the ids of what the jobs are for; theirs go on with a dot behind those."""
        self._queue = queue
        self._jobs = jobs
        self._prefixes = prefixes

    async def look(self) -> Sequence[str]:
        """The ids of those that wait or run. Raises UnavailableError."""
        snapshot = await self._queue.look()
        ids = [job.id for job in snapshot.running] + [job.id for job in snapshot.waiting]
        return [job_id for job_id in ids if job_id.startswith(self._prefixes)]

    async def end(self, job_ids: Sequence[str], is_over: Callable[[str], Awaitable[bool]]) -> None:
        """Cancel those whose purpose is over, or is gone. Raises JanError: what is left is ended another time.

        Safe for what has just begun, or goes on: `is_over` asks storage, where what a job is for was written before.
        """
        for job_id in job_ids:
            try:
                is_left = await is_over(job_id)
            except NotFoundError:
                is_left = True
            if is_left:
                logger.warning("job cancelled: what it was for is over", job=job_id)
                await self._jobs.cancel(job_id)

"""Works at downloads: those that are asked for here, and those that no gateway works at any more.

Each is a task under a claim that storage gives. The claims of a gateway that is killed end by themselves; another one,
or the next one, finds the download in storage's list and goes on where it stopped.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

from gateway.fetching.fetch import Fetcher
from gateway.pulls.at_once import at_once
from gateway.pulls.client import PullClient
from gateway.pulls.headers import HeaderReader
from gateway.pulls.hub import Hub
from gateway.pulls.plan import Planner
from gateway.pulls.transfer import Patience, Transfer
from jan.backoff import Backoff
from jan.errors import (
    ConflictError,
    DeadlineExceededError,
    FailedPreconditionError,
    JanError,
    NotFoundError,
    StorageFullError,
    UnavailableError,
)
from jan.storage.v1 import pulls_pb2
from jan.tasks import background, end
from jan.telemetry import get_logger

logger = get_logger(__name__)

MAX_AT_ONCE = 4
# A claim lasts ten seconds.
RENEW_SECONDS = 2.0
# What is begun here is begun at once; what a gateway left behind that died, so soon after its claim is over.
LOOK_SECONDS = 5.0

_AWAY = (UnavailableError, DeadlineExceededError)
# Ours no longer: another gateway has it, or somebody ended it.
_OVER = ("pull_claimed", "pull_ended", "pull_not_found")
# What is of no use to another attempt.
_USELESS = ("model_file_invalid", "storage_full", "download_corrupt")


class Puller:
    """The downloads of one gateway, at most four at once; the others wait in storage's list."""

    def __init__(self, pulls: PullClient, fetcher: Fetcher, hub: Hub) -> None:
        self.pulls = pulls
        self.planner = Planner(fetcher, hub)
        self.headers = HeaderReader(fetcher, hub)
        self.patience = Patience()
        self._fetcher = fetcher
        self._hub = hub
        self.is_leaving = asyncio.Event()
        """Set when the gateway is about to end: those who watch are let go, and may watch on another."""
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._wake = asyncio.Event()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Downloads go on while this is open; those under way at its end are left for another gateway."""
        try:
            async with background(self._look_for_ever(), "look for downloads"):
                yield
        finally:
            for task in list(self._tasks.values()):
                await end(task)

    async def begin(self, request: pulls_pb2.BeginPullRequest) -> pulls_pb2.Pull:
        """Have a download begun; it is on storage's list on return. Raises JanError: storage does not want it."""
        pull = await self.pulls.begin(request)
        self._wake.set()
        return pull

    async def cancel(self, pull_id: str) -> pulls_pb2.Pull:
        """End a download, whichever gateway works at it; nothing of it is left on return. Raises NotFoundError."""
        pull = await self.pulls.cancel(pull_id)
        task = self._tasks.get(pull_id)
        if task is not None:
            await end(task)
        return pull

    async def _look_for_ever(self) -> None:
        while True:
            with contextlib.suppress(JanError):  # storage is away; it is asked again soon
                await self._look()
            try:
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._wake.wait()
            except TimeoutError:
                continue
            self._wake.clear()

    async def _look(self) -> None:
        """Take up what nobody works at."""
        for pull in await self.pulls.all():
            if pull.state != pulls_pb2.PULL_STATE_QUEUED or pull.id in self._tasks:
                continue
            if len(self._tasks) >= MAX_AT_ONCE:
                return
            try:
                claimed = await self.pulls.claim(pull.id)
            except (ConflictError, FailedPreconditionError, NotFoundError):
                continue
            task = asyncio.create_task(self._work(claimed), name=f"download {pull.id}")
            self._tasks[pull.id] = task
            task.add_done_callback(partial(self._forget, pull.id))

    def _forget(self, pull_id: str, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            logger.error("a defect ended a download; it is tried again", pull=pull_id, exc_info=task.exception())
        del self._tasks[pull_id]
        self._wake.set()

    async def _work(self, pull: pulls_pb2.Pull) -> None:
        """A download from its claim to its end, which storage writes down."""
        try:
            await self._fetch(pull)
        except JanError as error:
            if error.code in _OVER or isinstance(error, _AWAY):
                logger.info("download left", pull=pull.id, reason=error.message)
                return
            await self._give_up(pull, error)

    async def _fetch(self, pull: pulls_pb2.Pull) -> None:
        """Fetch all files and publish them, while the claim is renewed. Raises what ends it."""
        work = asyncio.create_task(self._fetch_files(pull), name=f"files of {pull.id}")
        claim = asyncio.create_task(self._renew(pull.id), name=f"claim on {pull.id}")
        try:
            await asyncio.wait([work, claim], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (work, claim):
                await end(task)
        for task in (claim, work):
            if not task.cancelled():
                task.result()

    async def _fetch_files(self, pull: pulls_pb2.Pull) -> None:
        transfers = [Transfer(self.pulls, self._fetcher, self._hub, pull.id, file) for file in pull.files]
        await at_once([transfer.run(self.patience) for transfer in transfers], f"file of {pull.id}")
        await self._repeat(lambda: self.pulls.publish(pull.id))
        logger.info("model downloaded", model=pull.model_id, pull=pull.id)

    async def _renew(self, pull_id: str) -> None:
        """Keep the claim. Ends by an error: it is ours no longer."""
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            await self._repeat(lambda: self.pulls.claim(pull_id))

    async def _give_up(self, pull: pulls_pb2.Pull, error: JanError) -> None:
        logger.warning("download given up", pull=pull.id, model=pull.model_id, reason=error.message)
        discard = error.code in _USELESS or isinstance(error, StorageFullError)
        try:
            await self._repeat(lambda: self.pulls.fail(pull.id, error, discard=discard))
        except JanError as problem:
            logger.info("download left", pull=pull.id, reason=problem.message)

    async def _repeat(self, call: Callable[[], Awaitable[pulls_pb2.Pull]]) -> None:
        """Ask storage until it answers: a restart of it is no reason to give up."""
        backoff = Backoff()
        while True:
            try:
                await call()
                return
            except _AWAY:
                await backoff.wait()

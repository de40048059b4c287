"""Has the chunks of all vector stores embedded, in the background: by one gateway at a time, a portion after the other.

Everything that is to be done stands in storage, so a gateway that dies is followed by another. A portion's job is in
the queue's class for work that nobody waits for, and goes with the gateway that asked.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import islice

from redis.asyncio import Redis
from redis.exceptions import RedisError

from gateway.queueing.holdings import Holdings
from gateway.queueing.jobs import JobClient
from gateway.services.storage import StorageClient
from gateway.vector_stores.embedder import embed, embedder_of, embedding_model
from jan.backoff import Backoff
from jan.errors import JanError
from jan.inference.v1 import jobs_pb2
from jan.queue.leases import Lease, LeaseKind, LeaseWatch
from jan.queue.runs import RunLeases
from jan.queue.scripts import Scripts
from jan.storage.v1 import chunk_vectors_pb2 as pb
from jan.tasks import background
from jan.telemetry import get_logger

logger = get_logger(__name__)

LEASE_ID = "vector-stores"
TENANT = "vector-stores"
LOOK_SECONDS = 5.0
# How long a job should take at least and at most: others wait for the engine meanwhile, and it is lost with a process.
_SHORT_SECONDS, _LONG_SECONDS = 1.0, 5.0
_FIRST_CHUNKS, _MOST_CHUNKS = 8, 64
# After a failure, at most; a model that cannot be loaded is no reason to ask all the time.
_MOST_SECONDS = 60.0


class ChunkEmbedding:
    """This gateway's part in it. `wanted`: the setting JANROOT_EMBEDDING_MODEL."""

    def __init__(self, redis: Redis, scripts: Scripts, storage: StorageClient, jobs: JobClient, wanted: str) -> None:
        self._storage = storage
        self._jobs = jobs
        self._wanted = wanted
        self._leases = RunLeases(redis, scripts)
        self._watch = LeaseWatch(redis, LeaseKind.RUN)
        self._holdings = Holdings(scripts, self._leases)
        self._at_a_time = _FIRST_CHUNKS

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Embed while the context is open; let go when it closes."""
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._holdings.running())
            await stack.enter_async_context(background(self._look_for_ever(), "embed-vector-stores"))
            yield

    async def _look_for_ever(self) -> None:
        while True:
            try:
                await self._look()
            except (JanError, RedisError, OSError) as error:
                logger.warning("vector stores not looked at", error=str(error))
            except Exception:  # nothing is embedded without this loop: it outlives a mistake
                logger.exception("vector stores not looked at")
            await asyncio.sleep(LOOK_SECONDS)

    async def _look(self) -> None:
        """Begin, when there is anything to embed and nobody does."""
        if LEASE_ID in self._holdings or await self._due() is None:
            return
        stalled = {lease.id: lease.seen for lease in await self._watch.stalled()}
        if LEASE_ID in stalled or not self._watch.holds(LEASE_ID):
            held = await self._leases.acquire(LEASE_ID, seen=stalled.get(LEASE_ID, ""))
            if held is not None:
                task = asyncio.create_task(self._work(held.lease), name="embedding-vector-stores")
                self._holdings.hold(held.lease, task)

    async def _work(self, lease: Lease) -> None:
        """Embed until nothing is left, under one lease."""
        backoff = Backoff(first_seconds=1.0, most_seconds=_MOST_SECONDS)
        try:
            while True:
                try:
                    if not await self._advance():
                        break
                    backoff.reset()
                    continue
                except (JanError, RedisError, OSError) as error:
                    logger.warning("chunks wait for their vectors", error=str(error))
                except Exception:  # chunks of other stores are none the worse
                    logger.exception("chunks wait for their vectors")
                await backoff.wait()
            await self._holdings.give_back(lease)
        finally:
            self._holdings.forget(lease)

    async def _due(self) -> pb.ListUnembeddedChunksResponse | None:
        model = await embedding_model(self._storage, self._wanted)
        if model is None:
            return None
        found = await self._storage.chunk_vectors.unembedded(embedder_of(model))
        return found if found.vector_store_id else None

    async def _advance(self) -> bool:
        """Embed some chunks; whether there were any. Raises DeadlineExceededError: they were too many for a job."""
        model = await embedding_model(self._storage, self._wanted)
        if model is None:
            return False
        embedder = embedder_of(model)
        due = await self._storage.chunk_vectors.unembedded(embedder)
        if not due.vector_store_id:
            return False
        texts = [text for row in due.rows for text in row.texts][: self._at_a_time]
        began = time.monotonic()
        try:
            vectors = await embed(self._jobs, model, texts, tenant=TENANT, priority=jobs_pb2.PRIORITY_BATCH)
        finally:
            self._at_a_time = next_count(self._at_a_time, time.monotonic() - began)
        await self._storage.chunk_vectors.put(due.vector_store_id, embedder, len(vectors[0]) // 4, _rows(due, vectors))
        return True


def next_count(count: int, seconds: float) -> int:
    """How many chunks the next job is for, when one for so many took so long, its time in the queue included."""
    if seconds < _SHORT_SECONDS:
        return min(2 * count, _MOST_CHUNKS)
    return max(1, count // 2) if seconds > _LONG_SECONDS else count


def _rows(due: pb.ListUnembeddedChunksResponse, vectors: Sequence[bytes]) -> list[pb.VectorRow]:
    """The vectors, by the rows of chunks that they are of."""
    rest = iter(vectors)
    rows = [
        pb.VectorRow(
            file_id=row.file_id,
            content=row.content,
            first=row.first,
            vectors=b"".join(islice(rest, len(row.texts))),
        )
        for row in due.rows
    ]
    return [row for row in rows if row.vectors]

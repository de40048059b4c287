"""Showing a run to a client as it happens: its event log, relayed as it stands."""

from __future__ import annotations

from aiohttp import web
from redis.exceptions import RedisError

from gateway.convert.runs import run_from_proto, status_name
from gateway.jobs import queue_unavailable
from gateway.keys import FOLLOWER, RUNS, STORAGE
from gateway.runs import states
from gateway.runs.log import DONE, event_frame
from gateway.sse import KEEP_ALIVE, KEEP_ALIVE_SECONDS, EventStream
from jan.errors import JanError
from jan.queue.follower import LogSubscription, SlowReaderError
from jan.storage.v1 import runs_pb2


async def stream_run(request: web.Request, run: runs_pb2.Run, *, first: bytes) -> web.StreamResponse:
    """Start a run and relay its events until its end. A client that leaves does not stop it: the run is the server's.

    first: frames in front of the run's own.
    """
    try:
        async with request.app[FOLLOWER].follow(run.id) as subscription:
            await request.app[RUNS].start(run)
            async with EventStream(request) as stream:
                if first:
                    await stream.write(first)
                await _relay(request, run, subscription, stream)
            return stream.response
    except RedisError:
        raise queue_unavailable() from None


async def _relay(request: web.Request, run: runs_pb2.Run, subscription: LogSubscription, stream: EventStream) -> None:
    silent_end = False
    try:
        async for batch in subscription.batches(KEEP_ALIVE_SECONDS):
            await stream.write(b"".join(entry.payload for entry in batch) or KEEP_ALIVE)
            if not batch:
                ended = await _ended(request, run)
                if ended is not None and silent_end:
                    await stream.write(_last_frames(ended))
                    return
                silent_end = ended is not None
    except SlowReaderError:
        raise ConnectionAbortedError("the client reads more slowly than the model writes") from None


async def _ended(request: web.Request, run: runs_pb2.Run) -> runs_pb2.Run | None:
    """The run as it ended, if it did: a gateway may have died between the record of the end and its event."""
    try:
        current = await request.app[STORAGE].get_run(run.thread_id, run.id)
    except JanError:
        return None
    return current if current.status in states.TERMINAL else None


def _last_frames(run: runs_pb2.Run) -> bytes:
    return event_frame(f"thread.run.{status_name(run.status)}", run_from_proto(run)) + DONE

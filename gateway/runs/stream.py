"""Showing a run to a client as it happens: its event log, relayed as it stands."""

from __future__ import annotations

from aiohttp import web
from redis.exceptions import RedisError

from gateway.convert.runs import run_from_proto, status_name
from gateway.jobs import queue_unavailable
from gateway.keys import FOLLOWER, RUNS, STORAGE
from gateway.runs import states
from gateway.runs.log import DONE, error_frame, event_frame
from gateway.sse import KEEP_ALIVE, KEEP_ALIVE_SECONDS, EventStream
from jan.errors import JanError, NotFoundError, UnavailableError
from jan.queue.follower import LogRestartedError, LogSubscription, SlowReaderError
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
                last_frames = await _last_frames(request, run)
                if last_frames and silent_end:
                    await stream.write(last_frames)
                    return
                silent_end = bool(last_frames)
    except LogRestartedError:
        await stream.write(error_frame(_lost(run)) + DONE)
    except SlowReaderError:
        raise ConnectionAbortedError("the client reads more slowly than the model writes") from None


async def _last_frames(request: web.Request, run: runs_pb2.Run) -> bytes:
    """How to close a stream whose run ended without a word, empty while it has not.

    A gateway may have died between the record of the end and its event.
    """
    try:
        current = await request.app[STORAGE].get_run(run.thread_id, run.id)
    except NotFoundError as error:
        return error_frame(error) + DONE
    except JanError:
        return b""
    if current.status not in states.TERMINAL:
        return b""
    return event_frame(f"thread.run.{status_name(current.status)}", run_from_proto(current)) + DONE


def _lost(run: runs_pb2.Run) -> UnavailableError:
    return UnavailableError(f"The stream was lost; read run {run.id} for its outcome.", code="stream_lost")

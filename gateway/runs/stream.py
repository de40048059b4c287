"""Showing a run to a client as it happens: its event log, relayed as it stands, from any place in it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from functools import partial

from aiohttp import web
from redis.exceptions import RedisError

from gateway.convert.runs import run_from_proto, status_name
from gateway.http.sse import EventStream, numbered
from gateway.keys import FOLLOWER, RUNS, STORAGE
from gateway.queueing.jobs import queue_unavailable
from gateway.queueing.resumption import STARTING_AFTER, Place, check_place, log_bounds, wants_numbers
from gateway.queueing.waiting_room import WaitingRoom
from gateway.runs import states
from gateway.runs.derived_ids import job_id, round_id
from gateway.runs.including import wants_content, with_content
from gateway.runs.listening import heard
from gateway.runs.log import DONE, SILENCE_SECONDS, error_frame, event_frame
from gateway.runs.retelling import ALIKE, Told, told_once
from jan.errors import (
    GoneError,
    InvalidArgumentError,
    JanError,
    NotFoundError,
    ResourceExhaustedError,
    UnavailableError,
)
from jan.queue.subscription import LogEntry, LogRestartedError, LogSubscription, SlowReaderError
from jan.storage.v1 import runs_pb2

# What the Assistants API has no event for.
_UNTOLD = b"event: response."


async def stream_run(
    request: web.Request, run: runs_pb2.Run, *, first: bytes, headers: Mapping[str, str] | None = None
) -> web.StreamResponse:
    """Start a run's present round and relay its events until its end. A client that leaves does not stop it.

    first: frames in front of the run's own. The run is stored, so it will be done: without Redis the stream waits, as
    an error would be taken for a refusal, and the next try be refused in truth because this run is active.
    """
    async with request.app[FOLLOWER].follow(round_id(run.id, run.round), waits_for_redis=True) as subscription:
        await request.app[RUNS].start(run)
        stream = EventStream(request, address=_address(run), opening=first, headers=headers)
        return await _relay(request, run, subscription, stream, Told(0))


async def resume_run(
    request: web.Request,
    run: runs_pb2.Run,
    place: Place | None,
    *,
    opening: bytes = b"",
    headers: Mapping[str, str] | None = None,
) -> web.StreamResponse:
    """Relay a run's events behind a place, each once, until the end of that round; without one its present round.

    Raises GoneError: they are not kept any longer; the run's messages are. InvalidArgumentError: no such event.
    """
    place = place or Place(run.round, 0)
    run, after, is_over = _in_round(run, place.round), place.number, states.is_over(run, place.round)
    log_id = round_id(run.id, run.round)
    bounds = await log_bounds(request, log_id, after)
    if bounds.last == 0 and (is_over or after):
        raise _gone(run)
    check_place(bounds, after, _gone(run))
    try:
        if after > ALIKE:
            await request.app[RUNS].retellings.check(log_id, _gone(run))
        stream = EventStream(request, address=_address(run), opening=opening, headers=headers)
        if bounds.ended and after == bounds.last:
            async with stream:
                return stream.response
        async with request.app[FOLLOWER].follow(log_id, after=after, generation=bounds.generation) as subscription:
            return await _relay(request, run, subscription, stream, Told(after))
    except RedisError:
        raise queue_unavailable() from None


async def _relay(
    request: web.Request, run: runs_pb2.Run, subscription: LogSubscription, stream: EventStream, told: Told
) -> web.StreamResponse:
    async with stream:
        try:
            await _relay_until_ended(request, run, subscription, stream, told)
        except LogRestartedError:
            await stream.fail(error_frame(_lost(run)) + DONE)
        except SlowReaderError:
            await stream.fail(error_frame(_too_slow()) + DONE)
    return stream.response


async def _relay_until_ended(
    request: web.Request, run: runs_pb2.Run, subscription: LogSubscription, stream: EventStream, told: Told
) -> None:
    """Relay a round to its end. Raises LogRestartedError: see `told_once`."""
    room = WaitingRoom(request, job_id(run.id, run.round))
    silent_end, looked_at = False, time.monotonic()
    batches = told_once(request.app[FOLLOWER], subscription, told, partial(heard, room=room))
    async with aclosing(batches):
        async for batch in batches:
            if batch:
                await stream.write(await _frames(request, run, batch))
                looked_at = time.monotonic()
                continue
            await stream.write(room.comment)
            if time.monotonic() - looked_at < SILENCE_SECONDS:
                continue
            looked_at = time.monotonic()
            last_frames = await _last_frames(request, run)
            if last_frames and silent_end:
                await stream.write(last_frames)
                return
            silent_end = bool(last_frames)


async def _frames(request: web.Request, run: runs_pb2.Run, batch: Sequence[LogEntry]) -> bytes:
    """What a client is told of a batch, with what it asked for: numbers, and the texts that a search found."""
    told = [(entry.number, entry.payload) for entry in batch if not entry.payload.startswith(_UNTOLD)]
    if wants_content(request):
        told = [(number, await with_content(request.app[STORAGE], run, frame)) for number, frame in told]
    if wants_numbers(request):
        return b"".join(numbered(number, frame, round_=run.round) for number, frame in told)
    return b"".join(frame for _, frame in told)


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
    if current.round != run.round:
        return error_frame(_lost(run)) + DONE
    if not states.is_over(current, run.round):
        return b""
    return event_frame(f"thread.run.{status_name(current.status)}", run_from_proto(current)) + DONE


def _in_round(run: runs_pb2.Run, round_: int) -> runs_pb2.Run:
    """A run as far as its streams are named by it. Raises InvalidArgumentError: it has not come to that round."""
    if round_ > run.round:
        raise InvalidArgumentError(
            f"The run has not come to a stream {round_}; its last one is {run.round}.", param=STARTING_AFTER
        )
    named = runs_pb2.Run()
    named.CopyFrom(run)
    named.round = round_
    return named


def _address(run: runs_pb2.Run) -> tuple[str, ...]:
    return ("run", run.thread_id, run.id, str(run.round))


def _lost(run: runs_pb2.Run) -> UnavailableError:
    return UnavailableError(f"The stream was lost; read run {run.id} for its outcome.", code="stream_lost")


def _too_slow() -> ResourceExhaustedError:
    return ResourceExhaustedError(
        "You read more slowly than the model writes; take the stream up again behind the last event that you have.",
        code="slow_reader",
    )


def _gone(run: runs_pb2.Run) -> GoneError:
    return GoneError(
        f"The events of this run are not kept any longer. Read /v1/threads/{run.thread_id}/runs/{run.id} for its "
        f"outcome and /v1/threads/{run.thread_id}/messages?run_id={run.id} for what it said.",
        code="stream_expired",
    )

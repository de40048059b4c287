"""What a job says as an HTTP answer, whole or streamed; shared by the routes that relay an engine's words."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator

from aiohttp import web

from gateway.http.errors import jan_error_body
from gateway.http.rate_limits import rate_limit_headers
from gateway.http.sse import DONE, EventStream, frame, numbered
from gateway.queueing.failures import failure_of
from gateway.queueing.jobs import JobEvents
from gateway.queueing.waiting_room import WaitingRoom
from jan.errors import InternalError, JanError, ResourceExhaustedError
from jan.inference.v1 import jobs_pb2
from jan.queue.subscription import SlowReaderError


async def whole_answer(request: web.Request, job_id: str, events: JobEvents) -> web.Response:
    """A job's whole answer as it was said; its headers tell where it stood in the queue. Raises what ended it early."""
    answer = b""
    room = WaitingRoom(request, job_id)
    async for batch in room.batches(events):
        for event in batch:
            raise_if_failed(event)
            answer += event.chunk.data
    return web.Response(body=answer, content_type="application/json", headers=_headers(room, events))


async def streamed_answer(
    request: web.Request, job_id: str, events: JobEvents, *, address: tuple[str, ...] = ()
) -> web.StreamResponse:
    """A job's chunks as server-sent events. Raises what ended the job before it said anything.

    address: what names the stream when it can be taken up again.
    """
    room = WaitingRoom(request, job_id)
    batches = room.batches(events)
    # Until something is said, a failure is still a status; a long wait turns into a stream of comments.
    first: list[jobs_pb2.JobEvent] = await anext(batches, [])
    for event in first:
        raise_if_failed(event)
    events.is_named = bool(address)  # from here on a repetition of the request finds the stream
    stream = EventStream(request, address=address, headers=_headers(room, events))
    try:
        async with stream:
            await _write(stream, events, first, room)
            await relay(stream, events, batches, room)
    finally:
        events.is_named = events.is_named and not stream.is_refused
    return stream.response


async def relay(
    stream: EventStream, events: JobEvents, batches: AsyncIterator[list[jobs_pb2.JobEvent]], room: WaitingRoom
) -> None:
    """Write what a job says from here on, and how it ended. `batches` are the room's.

    Once it speaks, its words go from the reader of all logs straight to a client that keeps up.
    """
    spoken = False

    def take(batch: list[jobs_pb2.JobEvent], first: int) -> bool:
        return spoken and stream.write_now(_frames(batch, first, room))

    events.when_dropped(stream.hurry)
    try:
        with events.pouring(take):
            async for batch in batches:
                await _write(stream, events, batch, room)
                spoken = spoken or bool(batch)
    except SlowReaderError:
        await stream.fail(frame(jan_error_body(_too_slow())))
    except JanError as error:
        await stream.fail(frame(jan_error_body(error)))


async def _write(stream: EventStream, events: JobEvents, batch: list[jobs_pb2.JobEvent], room: WaitingRoom) -> None:
    if not batch:
        await stream.write(room.comment)
        return
    frames = _frames(batch, events.number - len(batch) + 1, room)
    await (stream.write if failure_of(batch[-1]) is None else stream.fail)(frames)


def _frames(batch: list[jobs_pb2.JobEvent], first: int, room: WaitingRoom) -> bytes:
    """Events as they are sent. first: the number of the first of them."""
    frames = map(_frame, batch)
    if room.numbers:
        frames = map(numbered, itertools.count(first), frames)
    return b"".join(frames)


def _frame(event: jobs_pb2.JobEvent) -> bytes:
    match event.WhichOneof("event"):
        case "chunk":
            return frame(event.chunk.data)
        case "completed":
            return DONE
        case _:
            return frame(jan_error_body(failure_of(event) or InternalError("The answer ended early.")))


def _headers(room: WaitingRoom, events: JobEvents) -> dict[str, str]:
    """Where the job stood in the queue, and how much more may be sent."""
    return {**room.headers, **rate_limit_headers(events.room)}


def raise_if_failed(event: jobs_pb2.JobEvent) -> None:
    """Raise what ended a job early, if this event says so."""
    error = failure_of(event)
    if error is not None:
        raise error


def _too_slow() -> ResourceExhaustedError:
    return ResourceExhaustedError("You read more slowly than the model writes.", code="slow_reader")

"""What a job says as an HTTP answer, whole or streamed; shared by the routes that relay an engine's words."""

from __future__ import annotations

from collections.abc import AsyncIterator

from aiohttp import web

from gateway.errors import jan_error_body
from gateway.jobs import JobEvents
from gateway.resumption import wants_numbers
from gateway.sse import DONE, KEEP_ALIVE, KEEP_ALIVE_SECONDS, NUMBERED_KEEP_ALIVE, EventStream, frame, numbered
from jan.errors import InternalError, JanError, ResourceExhaustedError, UnavailableError
from jan.inference.v1 import jobs_pb2
from jan.queue.follower import SlowReaderError


async def whole_answer(events: JobEvents) -> web.Response:
    """A job's whole answer as it was said. Raises what ended the job early."""
    answer = b""
    async for batch in events.batches():
        for event in batch:
            raise_if_failed(event)
            answer += event.chunk.data
    return web.Response(body=answer, content_type="application/json")


async def streamed_answer(
    request: web.Request, events: JobEvents, *, address: tuple[str, ...] = ()
) -> web.StreamResponse:
    """A job's chunks as server-sent events. Raises what ended the job before it said anything.

    address: what names the stream when it can be taken up again.
    """
    batches = events.batches(KEEP_ALIVE_SECONDS)
    # Until something is said, a failure is still a status; a long wait turns into a stream of comments.
    first: list[jobs_pb2.JobEvent] = await anext(batches, [])
    for event in first:
        raise_if_failed(event)
    numbers = wants_numbers(request)
    async with EventStream(request, address=address) as stream:
        await _write(stream, events, first, numbers=numbers)
        await relay(stream, events, batches, numbers=numbers)
    return stream.response


async def relay(
    stream: EventStream, events: JobEvents, batches: AsyncIterator[list[jobs_pb2.JobEvent]], *, numbers: bool
) -> None:
    """Write what a job says from here on, and how it ended. numbers: with the events' numbers."""
    try:
        async for batch in batches:
            await _write(stream, events, batch, numbers=numbers)
    except SlowReaderError:
        await stream.fail(frame(jan_error_body(_too_slow())))
    except JanError as error:
        await stream.fail(frame(jan_error_body(error)))


async def _write(stream: EventStream, events: JobEvents, batch: list[jobs_pb2.JobEvent], *, numbers: bool) -> None:
    if not batch:
        await stream.write(NUMBERED_KEEP_ALIVE if numbers else KEEP_ALIVE)
        return
    frames = map(_frame, batch)
    if numbers:
        frames = map(numbered, range(events.number - len(batch) + 1, events.number + 1), frames)
    if failure_of(batch[-1]) is None:
        await stream.write(b"".join(frames))
    else:
        await stream.fail(b"".join(frames))


def _frame(event: jobs_pb2.JobEvent) -> bytes:
    match event.WhichOneof("event"):
        case "chunk":
            return frame(event.chunk.data)
        case "completed":
            return DONE
        case _:
            return frame(jan_error_body(failure_of(event) or InternalError("The answer ended early.")))


def raise_if_failed(event: jobs_pb2.JobEvent) -> None:
    """Raise what ended a job early, if this event says so."""
    error = failure_of(event)
    if error is not None:
        raise error


def failure_of(event: jobs_pb2.JobEvent) -> JanError | None:
    """The error that an event reports, or None."""
    match event.WhichOneof("event"):
        case "failed":
            return JanError.from_detail(event.failed.error)
        case "cancelled":
            return UnavailableError("The request was cancelled before it was answered.", code="cancelled")
        case _:
            return None


def _too_slow() -> ResourceExhaustedError:
    return ResourceExhaustedError("You read more slowly than the model writes.", code="slow_reader")

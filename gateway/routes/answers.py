"""What a job says as an HTTP answer, whole or streamed; shared by the routes that relay an engine's words."""

from __future__ import annotations

from collections.abc import AsyncIterator

from aiohttp import web

from gateway.errors import jan_error_body
from gateway.jobs import JobEvents
from gateway.sse import DONE, KEEP_ALIVE, KEEP_ALIVE_SECONDS, EventStream, frame
from jan.errors import InternalError, JanError, UnavailableError
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


async def streamed_answer(request: web.Request, events: JobEvents) -> web.StreamResponse:
    """A job's chunks as server-sent events. Raises what ended the job before it said anything."""
    batches = events.batches(KEEP_ALIVE_SECONDS)
    # Until something is said, a failure is still a status; a long wait turns into a stream of comments.
    first: list[jobs_pb2.JobEvent] = await anext(batches, [])
    for event in first:
        raise_if_failed(event)
    async with EventStream(request) as stream:
        await stream.write(_frames(first))
        try:
            await _relay(stream, batches)
        except SlowReaderError:
            raise ConnectionAbortedError("the client reads more slowly than the model writes") from None
        except JanError as error:
            await stream.write(frame(jan_error_body(error)))
    return stream.response


async def _relay(stream: EventStream, batches: AsyncIterator[list[jobs_pb2.JobEvent]]) -> None:
    async for batch in batches:
        await stream.write(_frames(batch))


def _frames(batch: list[jobs_pb2.JobEvent]) -> bytes:
    """What a batch of events looks like to the client; a comment for silence."""
    return b"".join(map(_frame, batch)) if batch else KEEP_ALIVE


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

"""POST /v1/chat/completions, whole and streamed."""

from __future__ import annotations

from collections.abc import AsyncIterator

from aiohttp import web

from gateway.body import read_body
from gateway.chat import chat_completion_job
from gateway.errors import jan_error_body
from gateway.jobs import JobEvents
from gateway.keys import JOBS, STORAGE
from gateway.models import find_model
from gateway.schemas.chat import ChatCompletionRequest
from gateway.sse import DONE, KEEP_ALIVE, KEEP_ALIVE_SECONDS, EventStream, frame
from gateway.tenant import tenant_of
from jan.errors import InternalError, JanError, UnavailableError
from jan.inference.v1 import jobs_pb2
from jan.queue.follower import SlowReaderError

routes = web.RouteTableDef()


@routes.post("/v1/chat/completions")
async def create_chat_completion(request: web.Request) -> web.StreamResponse:
    """Answer a conversation; a client that leaves frees its place in the queue or the engine."""
    body = await read_body(request, ChatCompletionRequest)
    body.check_supported()
    model = await find_model(request.app[STORAGE], body.model)
    job = chat_completion_job(body, model, tenant_of(request, body.user))
    async with request.app[JOBS].attended(job) as events:
        return await (_stream(request, events) if job.stream else _whole(events))


async def _whole(events: JobEvents) -> web.Response:
    answer = b""
    async for batch in events.batches():
        for event in batch:
            raise_if_failed(event)
            answer += event.chunk.data
    return web.Response(body=answer, content_type="application/json")


async def _stream(request: web.Request, events: JobEvents) -> web.StreamResponse:
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

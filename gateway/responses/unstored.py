"""A response that nothing is kept of: a chat of its own, told in the Responses API's words."""

from __future__ import annotations

from collections.abc import Sequence

import orjson
from aiohttp import web

from gateway.http.errors import jan_error_body
from gateway.http.rate_limits import rate_limit_headers
from gateway.http.sse import EventStream, frame
from gateway.keys import IMAGES, INFERENCE, JOBS
from gateway.queueing.jobs import JobEvents
from gateway.queueing.priority import kept
from gateway.queueing.waiting_room import WaitingRoom
from gateway.responses.as_chat import UnstoredAnswer, unstored_job
from gateway.routes.answers import raise_if_failed
from jan.errors import JanError, ResourceExhaustedError
from jan.ids import CompletionId
from jan.inference.v1 import jobs_pb2
from jan.queue.subscription import SlowReaderError
from jan.storage.v1 import messages_pb2, models_pb2, runs_pb2


async def answer_unstored(
    request: web.Request,
    run: runs_pb2.Run,
    model: models_pb2.Model,
    said: Sequence[messages_pb2.Message],
    *,
    image_names: Sequence[str],
    stream: bool,
    with_results: bool,
) -> web.StreamResponse:
    """Answer a response whose run is stored nowhere. A client that leaves frees its place.

    said, with_results: see `UnstoredAnswer`. image_names: what the request calls the images of its input. Raises what
    ended it before its first word, and, where it is not streamed, behind that.
    """
    app, priority = request.app, kept(run.priority)
    # Another one each time, though a repetition's response has the same id: the queue does a job once, as it ended.
    job_id = CompletionId.new()
    job = await unstored_job(
        app[INFERENCE], app[IMAGES], run, model, said, image_names=image_names, job_id=job_id, priority=priority
    )
    async with request.app[JOBS].attended(job) as events:
        answer = UnstoredAnswer(run, said, with_results=with_results)
        return await (_streamed if stream else _whole)(request, job.id, events, answer)


async def _whole(request: web.Request, job_id: str, events: JobEvents, answer: UnstoredAnswer) -> web.StreamResponse:
    room = WaitingRoom(request, job_id)
    async for batch in room.batches(events):
        for event in batch:
            raise_if_failed(event)
            answer.hear(event)
    headers = {**room.headers, **rate_limit_headers(events.room)}
    return web.Response(body=orjson.dumps(answer.whole), content_type="application/json", headers=headers)


async def _streamed(request: web.Request, job_id: str, events: JobEvents, answer: UnstoredAnswer) -> web.StreamResponse:
    room = WaitingRoom(request, job_id)
    batches = room.batches(events)
    # Until something is said, a failure is still a status.
    first: list[jobs_pb2.JobEvent] = await anext(batches, [])
    for event in first:
        raise_if_failed(event)
    async with EventStream(request, headers={**room.headers, **rate_limit_headers(events.room)}) as stream:
        events.when_dropped(stream.hurry)
        try:
            await stream.write(answer.opening + b"".join(map(answer.hear, first)))
            async for batch in batches:
                await stream.write(b"".join(map(answer.hear, batch)) if batch else room.comment)
        except SlowReaderError:
            slow = ResourceExhaustedError("You read more slowly than the model writes.", code="slow_reader")
            await stream.fail(frame(jan_error_body(slow), event="error"))
        except JanError as error:  # the queue is away
            await stream.fail(frame(jan_error_body(error), event="error"))
    return stream.response

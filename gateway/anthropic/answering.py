"""Answering a message: its job's words told as Anthropic's, streamed or whole."""

from __future__ import annotations

from collections.abc import AsyncIterator

import orjson
from aiohttp import web

from gateway.anthropic.answer import MessageAnswer
from gateway.anthropic.asked import AskedMessage
from gateway.anthropic.errors import error_data
from gateway.http.rate_limits import anthropic_rate_limit_headers
from gateway.http.sse import EventStream, frame
from gateway.queueing.failures import failure_of
from gateway.queueing.jobs import JobEvents
from gateway.queueing.waiting_room import WaitingRoom
from gateway.routes.answers import raise_if_failed
from jan.errors import JanError, ResourceExhaustedError
from jan.inference.v1 import jobs_pb2
from jan.queue.subscription import SlowReaderError

Batches = AsyncIterator[list[jobs_pb2.JobEvent]]


async def whole_message(request: web.Request, events: JobEvents, asked: AskedMessage) -> web.StreamResponse:
    """The whole message. Raises what ended it early."""
    room, answer = WaitingRoom(request, asked.job.id), asked.answer
    await _hear(room.batches(events), answer)
    await asked.end()
    return web.Response(
        body=orjson.dumps(answer.whole()), content_type="application/json", headers=_headers(room, events)
    )


async def _hear(batches: Batches, answer: MessageAnswer) -> None:
    """Hear the answer to its end, or to a stop sequence."""
    async for batch in batches:
        for event in batch:
            if not answer.found_stop:  # behind it, how the job goes on is nobody's business
                raise_if_failed(event)
                answer.hear(event)
        if answer.found_stop:
            return


async def streamed_message(request: web.Request, events: JobEvents, asked: AskedMessage) -> web.StreamResponse:
    """The message as Anthropic's events. Raises what ended it before its first word; later, an event tells of it."""
    room, answer = WaitingRoom(request, asked.job.id), asked.answer
    batches = room.batches(events)
    first: list[jobs_pb2.JobEvent] = await anext(batches, [])
    for event in first:
        raise_if_failed(event)
    async with EventStream(request, headers=_headers(room, events)) as stream:
        events.when_dropped(stream.hurry)
        try:
            await stream.write(b"".join(map(answer.hear, first)) or room.comment)
            if not answer.found_stop:
                await _relay(stream, batches, answer, room)
            if not answer.is_over:
                await stream.write(await asked.end())
        except SlowReaderError:
            slow = ResourceExhaustedError("You read more slowly than the model writes.", code="slow_reader")
            await stream.fail(frame(error_data(request, slow), event="error"))
        except JanError as error:
            await stream.fail(frame(error_data(request, error), event="error"))
    return stream.response


async def _relay(stream: EventStream, batches: Batches, answer: MessageAnswer, room: WaitingRoom) -> None:
    async for batch in batches:
        frames = b""
        for event in batch:
            if not answer.found_stop:
                if frames and failure_of(event) is not None:
                    await stream.write(frames)
                raise_if_failed(event)
                frames += answer.hear(event)
        if frames or not batch:
            await stream.write(frames or room.comment)
        if answer.found_stop:
            return


def _headers(room: WaitingRoom, events: JobEvents) -> dict[str, str]:
    """Where the job stood in the queue, and how much more may be sent."""
    return {**room.headers, **anthropic_rate_limit_headers(events.room)}

"""A response that nothing is kept of: a chat of its own, told in the Responses API's words."""

from __future__ import annotations

from functools import partial

import orjson
from aiohttp import web

from gateway.completions.chat import chat_body, chat_job
from gateway.completions.parameters import layered, stored_parameters
from gateway.http.errors import jan_error_body
from gateway.http.rate_limits import rate_limit_headers
from gateway.http.sse import EventStream, frame
from gateway.keys import INFERENCE, JOBS
from gateway.models.lookup import model_spec
from gateway.queueing.failures import failure_of
from gateway.queueing.jobs import JobEvents
from gateway.queueing.waiting_room import WaitingRoom
from gateway.responses.events import ResponseEvents
from gateway.responses.objects import may_cut, response_object
from gateway.routes.answers import raise_if_failed
from gateway.runs import derived_ids, states
from gateway.runs.conversation import conversation
from gateway.runs.request import effective_parameters
from gateway.runs.truncation import truncated
from gateway.schemas.common import JsonObject
from jan.errors import JanError, ResourceExhaustedError
from jan.inference.v1 import jobs_pb2
from jan.queue.follower import SlowReaderError
from jan.storage.v1 import messages_pb2, models_pb2, runs_pb2


class _Answer:
    """What the model has said so far."""

    def __init__(self, run: runs_pb2.Run) -> None:
        self._run = run
        self._events = ResponseEvents(derived_ids.message_id(run.id, 1), partial(derived_ids.call_item_id, run.id, 1))
        self._finish_reason = ""
        self._said_anything = False

    def opening(self) -> bytes:
        """The events in front of its first word."""
        begun = response_object(self._run, [])
        return self._events.created(begun, queued=False) + self._events.in_progress(begun)

    def hear(self, event: jobs_pb2.JobEvent) -> bytes:
        """The events that one of the job's makes."""
        if (error := failure_of(event)) is not None:
            return self._fail(error)
        if event.WhichOneof("event") == "completed":
            return self._end(event.completed)
        frames = b""
        for choice in orjson.loads(event.chunk.data)["choices"]:
            delta = choice["delta"]
            frames += self._say(delta)
            self._finish_reason = choice.get("finish_reason") or self._finish_reason
        return frames

    @property
    def whole(self) -> JsonObject:
        """The response as it is now."""
        status = "completed" if self._run.status == states.COMPLETED else "incomplete"
        return response_object(self._run, self._events.output(status))

    def _fail(self, error: JanError) -> bytes:
        self._run.status = states.FAILED
        self._run.last_error.CopyFrom(runs_pb2.RunError(code="server_error", message=error.message))
        return self._events.end(self.whole)

    def _say(self, delta: JsonObject) -> bytes:
        frames = b""
        if text := delta.get("content"):
            self._said_anything = True
            frames += self._events.say(text)
        for call in delta.get("tool_calls") or ():
            self._said_anything = True
            frames += self._events.call(call)
        return frames

    def _end(self, completed: jobs_pb2.Completed) -> bytes:
        frames = b"" if self._said_anything else self._events.say("")
        self._run.usage.CopyFrom(completed.usage)
        if self._finish_reason == "length":
            self._run.status = states.INCOMPLETE
            self._run.incomplete_reason = "max_completion_tokens"
        else:
            self._run.status = states.COMPLETED
            self._run.completed_at.GetCurrentTime()
        return frames + self._events.end(self.whole)


async def answer_unstored(
    request: web.Request,
    run: runs_pb2.Run,
    model: models_pb2.Model,
    inputs: list[messages_pb2.Message],
    *,
    stream: bool,
    priority: jobs_pb2.Priority.ValueType,
) -> web.StreamResponse:
    """Answer a response whose run is stored nowhere. A client that leaves frees its place.

    Raises what ended it before its first word, and, where it is not streamed, behind that.
    """
    parameters = layered(stored_parameters(model.parameters_json), effective_parameters(run, []))
    whole = conversation(run, inputs)
    cut = truncated(request.app[INFERENCE], model_spec(model), run, whole, parameters) if may_cut(run) else None
    messages = whole.messages() if cut is None else await cut
    body = chat_body(model, messages, parameters, stream=True, include_usage=True)
    completion_id = derived_ids.completion_id(run.id, 1)
    job = chat_job(completion_id, completion_id, model, body, tenant=run.tenant, stream=True, priority=priority)
    async with request.app[JOBS].attended(job) as events:
        return await (_streamed if stream else _whole)(request, job.id, events, _Answer(run))


async def _whole(request: web.Request, job_id: str, events: JobEvents, answer: _Answer) -> web.StreamResponse:
    room = WaitingRoom(request, job_id)
    async for batch in room.batches(events):
        for event in batch:
            raise_if_failed(event)
            answer.hear(event)
    headers = {**room.headers, **rate_limit_headers(events.room)}
    return web.Response(body=orjson.dumps(answer.whole), content_type="application/json", headers=headers)


async def _streamed(request: web.Request, job_id: str, events: JobEvents, answer: _Answer) -> web.StreamResponse:
    room = WaitingRoom(request, job_id)
    batches = room.batches(events)
    # Until something is said, a failure is still a status.
    first: list[jobs_pb2.JobEvent] = await anext(batches, [])
    for event in first:
        raise_if_failed(event)
    async with EventStream(request, headers={**room.headers, **rate_limit_headers(events.room)}) as stream:
        try:
            await stream.write(answer.opening() + b"".join(map(answer.hear, first)))
            async for batch in batches:
                await stream.write(b"".join(map(answer.hear, batch)) if batch else room.comment)
        except SlowReaderError:
            slow = ResourceExhaustedError("You read more slowly than the model writes.", code="slow_reader")
            await stream.fail(frame(jan_error_body(slow), event="error"))
        except JanError as error:  # the queue is away
            await stream.fail(frame(jan_error_body(error), event="error"))
    return stream.response

"""A response that nothing is kept of: its job, a chat, and what is heard of that in the Responses API's words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import orjson

from gateway.completions.chat import chat_body, chat_job
from gateway.completions.parameters import layered, stored_parameters
from gateway.convert.items import item_from_message
from gateway.convert.json_fields import from_text
from gateway.images.shown import Images
from gateway.models.lookup import REMOTE_ENGINE, may_see, model_spec
from gateway.queueing.failures import failure_of, used_of
from gateway.responses.events import ResponseEvents
from gateway.responses.objects import may_cut, response_object
from gateway.runs import derived_ids, states
from gateway.runs.calls import spelled_in
from gateway.runs.conversation import UNSEEN_IMAGE, conversation
from gateway.runs.file_search import last_found
from gateway.runs.request import effective_parameters
from gateway.runs.truncation import truncated
from gateway.schemas.common import JsonObject
from gateway.services.inference import InferenceClient
from gateway.vector_stores.excerpts import citations, with_excerpts
from jan.errors import JanError
from jan.inference.v1 import jobs_pb2
from jan.storage.v1 import messages_pb2, models_pb2, runs_pb2
from jan.type.v1.usage_pb2 import Usage


class UnstoredAnswer:
    """What the model has said so far."""

    def __init__(self, run: runs_pb2.Run, said: Sequence[messages_pb2.Message], *, with_results: bool = False) -> None:
        """said: what was said so far, the response's own search the last of it. with_results: that tells what it found.

        `opening`: the events in front of the first word.
        """
        self._run = run
        self._sources = last_found(said)
        self._events = ResponseEvents(run.id, spelled=spelled_in(run))
        self._finish_reason = ""
        self._may_call = bool(from_text(run.tools_json, []))
        self._blank = ""
        self._said_anything = False
        begun = response_object(self._run, [])
        self.opening = self._events.created(begun, queued=False) + self._events.in_progress(begun)
        if said and said[-1].id == derived_ids.search_item_id(run.id):
            item = item_from_message(said[-1], with_results=with_results)
            self.opening += self._events.search(item["id"]) + self._events.searched(item)

    def hear(self, event: jobs_pb2.JobEvent) -> bytes:
        """The events that one of the job's makes."""
        if (error := failure_of(event)) is not None:
            return self._fail(error, used_of(event))
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

    def _fail(self, error: JanError, used: Usage | None) -> bytes:
        self._run.status = states.FAILED
        if used is not None:
            self._run.usage.CopyFrom(used)
        self._run.last_error.CopyFrom(runs_pb2.RunError(code="server_error", message=error.message, param=error.param))
        return self._events.end(self.whole)

    def _say(self, delta: JsonObject) -> bytes:
        frames = b""
        if thought := delta.get("reasoning_content"):
            frames += self._events.think(thought)
        if text := delta.get("content"):
            frames += self._say_text(text)
        for call in delta.get("tool_calls") or ():
            self._said_anything = True
            frames += self._events.call(call)
        return frames

    def _say_text(self, text: str) -> bytes:
        """White space may be all that stands in front of a call: then it is told with the next word, or never."""
        text = self._blank + text
        if self._may_call and text.isspace() and not self._events.is_speaking:
            self._blank = text
            return b""
        self._blank, self._said_anything = "", True
        before = self._events.said_last
        return self._events.say(text, citations(before + text, self._sources, behind=len(before)))

    def _end(self, completed: jobs_pb2.Completed) -> bytes:
        frames = b"" if self._said_anything else self._events.say(self._blank)
        self._run.usage.CopyFrom(completed.usage)
        if self._finish_reason == "length":
            self._run.status = states.INCOMPLETE
            self._run.incomplete_reason = "max_completion_tokens"
        else:
            self._run.status = states.COMPLETED
            self._run.completed_at.GetCurrentTime()
        return frames + self._events.end(self.whole)


async def unstored_job(
    inference: InferenceClient,
    images: Images,
    run: runs_pb2.Run,
    model: models_pb2.Model,
    said: Sequence[messages_pb2.Message],
    *,
    job_id: str,
    priority: jobs_pb2.Priority.ValueType,
    image_names: Sequence[str] = (),
) -> jobs_pb2.Job:
    """The job whose events `UnstoredAnswer` hears. said: as there.

    image_names: what the request calls the images of its input.
    Raises InvalidArgumentError, PermissionDeniedError: an image of the newest message cannot be shown.
    """
    parameters = layered(stored_parameters(model.parameters_json), effective_parameters(run, []))
    whole = conversation(run, said, sees=may_see(model))
    whole = replace(whole, system=with_excerpts(whole.system, last_found(said)))
    cut = truncated(inference, model_spec(model), run, whole, parameters) if may_cut(run) else None
    told = whole.messages() if cut is None else await cut
    fetches = model.engine != REMOTE_ENGINE
    messages = await images.shown_of_thread(told, UNSEEN_IMAGE, image_names, fetches=fetches)
    body = chat_body(model, messages, parameters, stream=True, include_usage=True)
    completion_id = derived_ids.completion_id(run.id, 1)
    return chat_job(job_id, completion_id, model, body, tenant=run.tenant, stream=True, priority=priority)

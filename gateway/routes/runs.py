"""Runs and their steps: start, stream, poll, cancel."""

from __future__ import annotations

from functools import partial

from aiohttp import web

from gateway.convert.json_fields import from_text, to_text
from gateway.convert.messages import files_named_as_sent, new_message
from gateway.convert.runs import run_from_proto, step_from_proto
from gateway.convert.threads import new_thread, thread_from_proto
from gateway.http.body import json_response, read_body
from gateway.http.paging import list_envelope, read_page
from gateway.http.path_ids import path_id
from gateway.http.rate_limits import rate_limit_headers
from gateway.idempotency.key import new_ids
from gateway.keys import INFERENCE, JOBS, RECORDED, RUNS, STORAGE
from gateway.models.coming import find_usable_or_any
from gateway.models.schemas import check_schemas, functions_of
from gateway.queueing.priority import Priority, priority_of
from gateway.queueing.resumption import Place, place_after, wants_stream
from gateway.queueing.tenant import tenant_of
from gateway.routes.threads import thread_id_of
from gateway.runs import states
from gateway.runs.cancelling import cancel_run as cancel
from gateway.runs.creation import find_assistant, model_named, new_run
from gateway.runs.including import wants_content
from gateway.runs.log import event_frame
from gateway.runs.request import effective_parameters
from gateway.runs.stream import resume_run, stream_run
from gateway.runs.waiting import take_outputs
from gateway.schemas.runs import CreateRun, CreateThreadAndRun, ModifyRun, RunRequest, SubmitToolOutputs
from gateway.services.storage import StorageClient
from gateway.vector_stores.attachments import search_attachments
from gateway.vector_stores.made_with import THREADS_EXPIRE_AFTER_DAYS, asked_store, made_with, with_store
from gateway.vector_stores.resources import check_resources
from jan.errors import ConflictError, NotFoundError
from jan.ids import RunId, StepId
from jan.queue.bounds import Room
from jan.storage.v1 import assistants_pb2, runs_pb2, threads_pb2

routes = web.RouteTableDef()

# The SDKs' poll helpers ask again after this time instead of a second.
POLL_AFTER = {"openai-poll-after-ms": "200"}


@routes.post("/v1/threads/{thread_id}/runs")
async def create_run(request: web.Request) -> web.StreamResponse:
    """Have an assistant answer a thread; 400 while another run is active on it."""
    wants_content(request)
    body = await read_body(request, CreateRun)
    storage = request.app[STORAGE]
    ids = new_ids(request)
    run_id = ids.next(RunId)
    thread = await storage.get_thread(thread_id_of(request))
    if ids.are_repeatable and (made_before := await _find_run(storage, thread.id, run_id)) is not None:
        return await _answer(request, made_before, stream=bool(body.stream))
    assistant = await find_assistant(storage, body.assistant_id)
    run = await _new_run(request, thread, assistant, body, run_id)
    room = await request.app[JOBS].check_room(run.tenant, run.model)
    messages = [new_message(message, ids, thread.id) for message in body.additional_messages or ()]
    with files_named_as_sent(body.additional_messages):
        run = await storage.create_run(runs_pb2.CreateRunRequest(run=run, additional_messages=messages))
    await search_attachments(storage, thread.id, body.additional_messages)
    return await _answer(request, run, stream=bool(body.stream), room=room)


@routes.post("/v1/threads/runs")
async def create_thread_and_run(request: web.Request) -> web.StreamResponse:
    """Make a thread and have an assistant answer it."""
    body = await read_body(request, CreateThreadAndRun)
    storage = request.app[STORAGE]
    ids = new_ids(request)
    run_id = ids.next(RunId)
    assistant = await find_assistant(storage, body.assistant_id)
    asked = asked_store(
        body.new_thread.tool_resources, ids, expires_after_days=THREADS_EXPIRE_AFTER_DAYS, param=body.resources_named
    )
    draft = new_thread(with_store(body.new_thread, asked), ids, assistant_id=assistant.id)
    if ids.are_repeatable and (made_before := await _find_run(storage, draft.thread.id, run_id)) is not None:
        first = event_frame("thread.created", thread_from_proto(await storage.get_thread(draft.thread.id)))
        return await _answer(request, made_before, stream=bool(body.stream), first=first)
    # All is checked before the thread exists, so that a refused request leaves nothing behind.
    await check_resources(storage, body.new_thread.tool_resources, param=body.resources_named)
    run = await _new_run(request, draft.thread, assistant, body, run_id)
    room = await request.app[JOBS].check_room(run.tenant, run.model)
    first_messages = body.thread.messages if body.thread else None
    with files_named_as_sent(first_messages, before="thread."):
        create = partial(storage.create_thread, draft)
        thread = await made_with(request.app[RECORDED], storage.vector_stores, asked, ids, create)
    thread = await search_attachments(storage, thread.id, first_messages) or thread
    run.thread_id = thread.id
    run = await storage.create_run(runs_pb2.CreateRunRequest(run=run))
    first = event_frame("thread.created", thread_from_proto(thread))
    return await _answer(request, run, stream=bool(body.stream), first=first, room=room)


@routes.get("/v1/threads/{thread_id}/runs")
async def list_runs(request: web.Request) -> web.Response:
    """List a thread's runs."""
    page = read_page(request, RunId)
    listed = await request.app[STORAGE].list_runs(runs_pb2.ListRunsRequest(thread_id=thread_id_of(request), page=page))
    return json_response(list_envelope([run_from_proto(run) for run in listed.runs], has_more=listed.has_more))


@routes.get("/v1/threads/{thread_id}/runs/{run_id}")
async def get_run(request: web.Request) -> web.StreamResponse:
    """Read a run; tells poll helpers to come back soon while it is active. `stream=true` gives its events instead."""
    streamed = wants_stream(request)
    place = place_after(request) if streamed else None
    wants_content(request)
    run = await request.app[STORAGE].get_run(thread_id_of(request), run_id_of(request))
    if streamed:
        return await resume_run(request, run, place)
    return json_response(run_from_proto(run), headers=POLL_AFTER if run.status in states.ACTIVE else None)


@routes.patch("/v1/threads/{thread_id}/runs/{run_id}")
@routes.post("/v1/threads/{thread_id}/runs/{run_id}")
async def modify_run(request: web.Request) -> web.Response:
    """Replace a run's metadata."""
    body = await read_body(request, ModifyRun)
    storage = request.app[STORAGE]
    while True:
        run = await storage.get_run(thread_id_of(request), run_id_of(request))
        if "metadata" in body.model_fields_set:
            run.metadata_json = to_text(body.metadata or {})
        try:
            return json_response(run_from_proto(await storage.update_run(run)))
        except ConflictError:
            continue  # the run moved on meanwhile: change what it is now


@routes.post("/v1/threads/{thread_id}/runs/{run_id}/cancel")
async def cancel_run(request: web.Request) -> web.Response:
    """Stop a run; 400 when it has ended."""
    run = await cancel(request.app[STORAGE], request.app[JOBS], thread_id_of(request), run_id_of(request))
    return json_response(run_from_proto(run))


@routes.post("/v1/threads/{thread_id}/runs/{run_id}/submit_tool_outputs")
async def submit_tool_outputs(request: web.Request) -> web.StreamResponse:
    """Give a run the outputs of all its calls, and have it go on; 400 when they are not those that it waits for."""
    body = await read_body(request, SubmitToolOutputs)
    run, round_ = await take_outputs(
        request.app[STORAGE],
        thread_id_of(request),
        run_id_of(request),
        body.tool_outputs,
        may_be_repeated=new_ids(request).are_repeatable,
    )
    return await _answer(request, run, stream=bool(body.stream), round_=round_)


@routes.get("/v1/threads/{thread_id}/runs/{run_id}/steps")
async def list_run_steps(request: web.Request) -> web.Response:
    """List a run's steps."""
    listed = await request.app[STORAGE].list_run_steps(
        runs_pb2.ListRunStepsRequest(
            thread_id=thread_id_of(request), run_id=run_id_of(request), page=read_page(request, StepId)
        )
    )
    with_content = wants_content(request)
    steps = [step_from_proto(step, with_content=with_content) for step in listed.steps]
    return json_response(list_envelope(steps, has_more=listed.has_more))


@routes.get("/v1/threads/{thread_id}/runs/{run_id}/steps/{step_id}")
async def get_run_step(request: web.Request) -> web.Response:
    """Read a step."""
    step_id = path_id(request, "step_id", StepId)
    step = await request.app[STORAGE].get_run_step(thread_id_of(request), run_id_of(request), step_id)
    return json_response(step_from_proto(step, with_content=wants_content(request)))


def run_id_of(request: web.Request) -> RunId:
    """The run that the path names. Raises NotFoundError when it cannot be a run's id."""
    return path_id(request, "run_id", RunId)


def _class_of(request: web.Request, body: RunRequest) -> Priority:
    """A person waits for a run, streamed or polled, unless the request says otherwise."""
    return priority_of(request, stream=True, service_tier=body.service_tier)


async def _find_run(storage: StorageClient, thread_id: str, run_id: RunId) -> runs_pb2.Run | None:
    """The run that an earlier sending of this request made, if it came so far; whatever waits or is gone since."""
    try:
        return await storage.get_run(thread_id, run_id)
    except NotFoundError:
        return None


async def _new_run(
    request: web.Request,
    thread: threads_pb2.Thread,
    assistant: assistants_pb2.Assistant,
    body: RunRequest,
    run_id: RunId,
) -> runs_pb2.Run:
    """A run that is checked whole, of a model that is here."""
    model = await find_usable_or_any(request, model_named(thread, assistant, body))
    tenant, priority = tenant_of(request), _class_of(request, body)
    run = new_run(model, thread, assistant, body, run_id=run_id, tenant=tenant, priority=priority)
    places = functions_of(from_text(run.tools_json, []))
    await check_schemas(request.app[INFERENCE], model.engine, effective_parameters(run, []), places)
    return run


async def _answer(
    request: web.Request,
    run: runs_pb2.Run,
    *,
    stream: bool,
    first: bytes = b"",
    round_: int = 1,
    room: Room | None = None,
) -> web.StreamResponse:
    """A run whose round was begun by this request, or by an earlier sending of it. room: what may still be sent."""
    executor = request.app[RUNS]
    if states.is_over(run, round_):
        answered = json_response(run_from_proto(run))
        return await resume_run(request, run, Place(round_, 0), opening=first) if stream else answered
    headers = rate_limit_headers(room)
    if stream:
        return await stream_run(request, run, first=first, headers=headers)
    await executor.start(run)
    return json_response(run_from_proto(run), headers=POLL_AFTER | headers)

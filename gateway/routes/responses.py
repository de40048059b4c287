"""/v1/responses: answer, stored as a turn of a thread or not at all; read, follow, cancel, delete."""

from __future__ import annotations

import contextlib

import orjson
from aiohttp import web

from gateway.convert.items import item_from_message
from gateway.http.body import json_response, read_body
from gateway.http.paging import list_envelope, page_of, read_page
from gateway.http.rate_limits import rate_limit_headers
from gateway.http.retries import UNSTORED
from gateway.idempotency.key import new_ids
from gateway.idempotency.new_ids import NewIds
from gateway.keys import CHUNK_SEARCH, FOLLOWER, INFERENCE, JOBS, RUNS, STORAGE
from gateway.models.coming import find_usable
from gateway.models.lookup import may_see
from gateway.models.schemas import check_schemas
from gateway.queueing.priority import priority_of
from gateway.queueing.resumption import wants_stream
from gateway.queueing.tenant import tenant_of
from gateway.responses.compaction import Parted, compacted, summary_job
from gateway.responses.counting import count_tokens
from gateway.responses.creation import begin, find_response, history, made_before, new_inputs, new_run, place_for
from gateway.responses.objects import asked_of, stored_response
from gateway.responses.removal import input_named, raise_if_refused, remove
from gateway.responses.searching import check_stores, with_search
from gateway.responses.stream import resume_response, starting_after, stream_response
from gateway.responses.unstored import answer_unstored
from gateway.responses.waiting import until_over
from gateway.routes.answers import whole_answer
from gateway.runs import states
from gateway.runs.cancelling import cancel_run
from gateway.runs.request import effective_parameters
from gateway.schemas.response_items import check_eyes, image_names
from gateway.schemas.responses import CompactResponse, CountInputTokens, CreateResponse, includes_results
from jan.errors import DeadlineExceededError, FailedPreconditionError, NotFoundError, UnavailableError
from jan.ids import MessageId, ResponseId, RunId, ThreadId
from jan.inference.v1 import jobs_pb2
from jan.rpc_errors import OUTCOME_UNKNOWN
from jan.storage.v1 import messages_pb2, models_pb2, runs_pb2

routes = web.RouteTableDef()


@routes.post("/v1/responses")
async def create_response(request: web.Request) -> web.StreamResponse:
    """Answer an input: a stored response goes on without its reader, and one with `store: false` ends with it."""
    body = await read_body(request, CreateResponse)
    if body.store is False:
        request[UNSTORED] = True
    body.check_supported()
    storage, ids = request.app[STORAGE], new_ids(request)
    run_id, made = ids.next(RunId), ids.thread() or ""
    if ids.are_repeatable and (run := await made_before(storage, body, run_id, made)) is not None:
        return await _answer(request, run, body, {})
    await check_stores(storage, body)
    place = await place_for(storage, body, made)
    model = await find_usable(request, body.model)
    check_eyes(body.input, model.id, sees=may_see(model))
    # A person waits for a response, streamed or polled, as for a run.
    priority = priority_of(request, stream=True, service_tier=body.service_tier)
    inputs = await new_inputs(storage, body, ids, place)
    tenant = tenant_of(request, body.person)
    run = new_run(body, model, place, inputs, run_id=run_id, tenant=tenant, priority=priority)
    if body.store is False:
        run.ClearField("thread_id")
        return await _answer_unstored(request, run, model, body, [*await history(storage, place), *inputs])
    with input_named():
        await check_schemas(request.app[INFERENCE], model.engine, effective_parameters(run, []), body.callable_places)
    headers = rate_limit_headers(await request.app[JOBS].check_room(run.tenant, run.model))
    return await _answer(request, await begin(storage, place, run, inputs), body, headers)


@routes.post("/v1/responses/input_tokens")
async def count_input_tokens(request: web.Request) -> web.Response:
    """How many tokens the model would read for such a request, by its own tokenizer; it is loaded for that."""
    body = await read_body(request, CountInputTokens)
    body.check_supported()
    model = await find_usable(request, body.model)
    check_eyes(body.input, model.id, sees=may_see(model))
    storage = request.app[STORAGE]
    await check_stores(storage, body)
    place = await place_for(storage, body, "")
    inputs = await new_inputs(storage, body, NewIds(), place)
    tenant, priority = tenant_of(request), jobs_pb2.PRIORITY_INTERACTIVE
    run = new_run(body, model, place, inputs, run_id=RunId.new(), tenant=tenant, priority=priority)
    said = await with_search(storage, request.app[CHUNK_SEARCH], run, [*await history(storage, place), *inputs])
    names = [*image_names(body.input), "conversation" if place.in_conversation else "previous_response_id"]
    count = await count_tokens(request.app[INFERENCE], model, run, said, names=names)
    return json_response({"object": "response.input_tokens", "input_tokens": count})


@routes.post("/v1/responses/compact")
async def compact_response(request: web.Request) -> web.Response:
    """Have the model sum a conversation up; its answer, sent as input, stands for what was said. Nothing is stored."""
    body = await read_body(request, CompactResponse)
    body.check_supported()
    storage = request.app[STORAGE]
    place = await place_for(storage, body, "")
    model = await find_usable(request, body.model)
    check_eyes(body.input, model.id, sees=may_see(model))
    parted = Parted.of([*await history(storage, place), *await new_inputs(storage, body, NewIds(), place)])
    priority = priority_of(request, stream=False, service_tier=body.service_tier)
    job = summary_job(model, parted, body.instructions or "", tenant=tenant_of(request), priority=priority)
    with input_named():
        async with request.app[JOBS].attended(job) as events:
            answer = await whole_answer(request, job.id, events)
    assert isinstance(answer.body, bytes)
    answer.body = orjson.dumps(compacted(answer.body, parted))
    return answer


@routes.get("/v1/responses/{response_id}")
async def get_response(request: web.Request) -> web.StreamResponse:
    """A stored response as it is now; with `stream=true` its events behind number `starting_after`."""
    streamed = wants_stream(request)
    run = await find_response(request.app[STORAGE], request.match_info["response_id"])
    with_results = includes_results(request.query)
    if streamed:
        return await resume_response(request, run, starting_after(request), with_results=with_results)
    return json_response(await stored_response(request.app[STORAGE], run, with_results=with_results))


@routes.post("/v1/responses/{response_id}/cancel")
async def cancel_response(request: web.Request) -> web.Response:
    """Stop a response, and answer it as it ended; the second time too. 400 when it ended otherwise."""
    storage = request.app[STORAGE]
    run = await find_response(storage, request.match_info["response_id"])
    if run.status != states.CANCELLED:
        try:
            run = await cancel_run(storage, request.app[JOBS], ThreadId(run.thread_id), RunId(run.id))
        except FailedPreconditionError:
            raise FailedPreconditionError("The response cannot be cancelled: it has ended.") from None
    return json_response(await stored_response(storage, await _until_over(request, run)))


@routes.delete("/v1/responses/{response_id}")
async def delete_response(request: web.Request) -> web.Response:
    """Remove a response and its turn, unless a conversation has that; 400 while it is not over, 404 the second time."""
    run = await find_response(request.app[STORAGE], request.match_info["response_id"])
    if run.status in states.ACTIVE:
        raise FailedPreconditionError("The response has not ended yet; cancel it first.")
    await remove(request.app[STORAGE], run)
    id_ = ResponseId.of(run.id, run.thread_id)
    return json_response({"id": id_, "object": "response.deleted", "deleted": True})


@routes.get("/v1/responses/{response_id}/input_items")
async def list_input_items(request: web.Request) -> web.Response:
    """A page of what a response was asked with, the newest first unless asked otherwise."""
    storage = request.app[STORAGE]
    page = read_page(request, MessageId)
    with_results = includes_results(request.query)
    run = await find_response(storage, request.match_info["response_id"])
    chosen, has_more = page_of([{"id": id_} for id_ in asked_of(run)["input"]], page)
    messages = []
    for one in chosen:
        with contextlib.suppress(NotFoundError):  # it was taken out of its thread
            messages.append(await storage.get_message(run.thread_id, one["id"]))
    items = [item_from_message(message, with_results=with_results) for message in messages]
    return json_response(list_envelope(items, has_more=has_more))


async def _answer_unstored(
    request: web.Request,
    run: runs_pb2.Run,
    model: models_pb2.Model,
    body: CreateResponse,
    said: list[messages_pb2.Message],
) -> web.StreamResponse:
    """A response that nothing is kept of. said: what was said so far, the input last."""
    said = await with_search(request.app[STORAGE], request.app[CHUNK_SEARCH], run, said)
    names = image_names(body.input)
    with input_named(body.callable_places):
        return await answer_unstored(
            request, run, model, said, image_names=names, stream=bool(body.stream), with_results=body.shows_results
        )


async def _answer(
    request: web.Request, run: runs_pb2.Run, body: CreateResponse, headers: dict[str, str]
) -> web.StreamResponse:
    """A response that was begun by this request, or by an earlier sending of it. headers: what may still be sent."""
    is_over = run.status in states.TERMINAL
    with_results = body.shows_results
    if body.stream and is_over:
        return await resume_response(request, run, -1, with_results=with_results)
    if body.stream:
        return await stream_response(request, run, headers, with_results=with_results)
    try:
        if not body.background:
            run = await _until_over(request, run, starts=True)
            await raise_if_refused(request.app[STORAGE], run)
        elif not is_over:
            await request.app[RUNS].start(run)
        whole = await stored_response(request.app[STORAGE], run, with_results=with_results)
        return json_response(whole, headers=headers)
    except (UnavailableError, DeadlineExceededError):
        # It is accepted, so a client that sends it again by itself would have another made.
        id_ = ResponseId.of(run.id, run.thread_id)
        raise UnavailableError(f"The response {id_} was accepted; read it again.", code=OUTCOME_UNKNOWN) from None


async def _until_over(request: web.Request, run: runs_pb2.Run, *, starts: bool = False) -> runs_pb2.Run:
    app = request.app
    return await until_over(app[STORAGE], app[FOLLOWER], app[RUNS], run, starts=starts)

"""/v1/threads: conversations. Listing them is Jan's; OpenAI has no such route."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from functools import partial

from aiohttp import web

from gateway.convert.messages import files_named_as_sent
from gateway.convert.threads import new_thread, thread_from_proto, thread_match_from_proto, thread_update
from gateway.http.body import json_response, read_body
from gateway.http.confirmation import require_confirmation
from gateway.http.paging import list_envelope, read_page
from gateway.http.path_ids import path_id
from gateway.http.preconditions import etag, read_if_match
from gateway.idempotency.key import new_ids
from gateway.keys import JOBS, RECORDED, STORAGE
from gateway.runs import derived_ids
from gateway.schemas.threads import ClearThread, CloneThread, CreateThread, ModifyThread
from gateway.vector_stores.attachments import search_attachments
from gateway.vector_stores.made_with import THREADS_EXPIRE_AFTER_DAYS, asked_store, made_with, with_store
from gateway.vector_stores.resources import check_resources
from jan.errors import InvalidArgumentError, UnavailableError
from jan.ids import ThreadId
from jan.storage.v1 import threads_pb2

MAX_QUERY = 1000

routes = web.RouteTableDef()


@routes.post("/v1/threads")
async def create_thread(request: web.Request) -> web.Response:
    """Make a thread, with its first messages if any are sent. The body may be empty."""
    body = await read_body(request, CreateThread)
    storage, ids = request.app[STORAGE], new_ids(request)
    await check_resources(storage, body.tool_resources)
    asked = asked_store(body.tool_resources, ids, expires_after_days=THREADS_EXPIRE_AFTER_DAYS)
    draft = new_thread(with_store(body, asked), ids)
    with files_named_as_sent(body.messages):
        create = partial(storage.create_thread, draft)
        thread = await made_with(request.app[RECORDED], storage.vector_stores, asked, ids, create)
    return _thread_response(await search_attachments(storage, thread.id, body.messages) or thread)


@routes.get("/v1/threads")
async def list_threads(request: web.Request) -> web.Response:
    """A page of threads; with `q` of those that hold a message with all its words, the best first."""
    query = request.query.get("q")
    if query:
        return await _search_threads(request, query)
    page = await request.app[STORAGE].list_threads(read_page(request, ThreadId))
    return json_response(list_envelope([*map(thread_from_proto, page.threads)], has_more=page.has_more))


@routes.get("/v1/threads/{thread_id}")
async def get_thread(request: web.Request) -> web.Response:
    """One thread; 404 when it is unknown."""
    thread_id = thread_id_of(request)
    return _thread_response(await request.app[STORAGE].get_thread(thread_id))


@routes.patch("/v1/threads/{thread_id}")
@routes.post("/v1/threads/{thread_id}")
async def modify_thread(request: web.Request) -> web.Response:
    """Change the fields sent; 404 when the thread is unknown, 412 when it is not the one in `If-Match`."""
    thread_id = thread_id_of(request)
    body = await read_body(request, ModifyThread)
    await check_resources(request.app[STORAGE], body.tool_resources)
    update = thread_update(thread_id, body)
    update.if_revision.extend(read_if_match(request))
    return _thread_response(await request.app[STORAGE].update_thread(update))


@routes.delete("/v1/threads/{thread_id}")
async def delete_thread(request: web.Request) -> web.Response:
    """Move a thread with all it holds into the trash; an active run ends. 404 the second time; 412 as above."""
    thread_id = thread_id_of(request)
    ended_runs = await request.app[STORAGE].delete_thread(thread_id, read_if_match(request))
    await cancel_jobs(request, ended_runs)
    return json_response({"id": thread_id, "object": "thread.deleted", "deleted": True})


@routes.delete("/v1/threads")
async def delete_all_threads(request: web.Request) -> web.Response:
    """Move every thread into the trash, from where one restore brings all of them back. Needs `?confirm=true`."""
    require_confirmation(request, "This deletes every thread")
    deleted = await request.app[STORAGE].delete_all_threads()
    await cancel_jobs(request, deleted.ended_runs)
    return json_response(
        {
            "object": "thread.list.deleted",
            "deleted": True,
            "count": deleted.count,
            "trash_id": deleted.trash_id or None,
        }
    )


@routes.post("/v1/threads/{thread_id}/clear")
async def clear_thread(request: web.Request) -> web.Response:
    """Drop a thread's messages, runs and files, and keep its settings; 400 while a run is active."""
    thread_id = thread_id_of(request)
    await read_body(request, ClearThread)
    return _thread_response(await request.app[STORAGE].clear_thread(thread_id))


@routes.post("/v1/threads/{thread_id}/clone")
async def clone_thread(request: web.Request) -> web.Response:
    """Make a thread with another's settings, messages and files, under a title of its own if one is sent."""
    thread_id = thread_id_of(request)
    body = await read_body(request, CloneThread)
    return _thread_response(await request.app[STORAGE].clone_thread(thread_id, body.title, new_ids(request).thread()))


async def cancel_jobs(request: web.Request, runs: Iterable[threads_pb2.EndedRun]) -> None:
    """Free the engine of runs that went with their threads.

    A queue that does not answer keeps nobody from deleting: the run's executor notices in a few seconds.
    """
    for run in runs:
        with contextlib.suppress(UnavailableError):
            await request.app[JOBS].cancel(derived_ids.job_id(run.id, run.round))


async def _search_threads(request: web.Request, query: str) -> web.Response:
    if len(query) > MAX_QUERY:
        raise InvalidArgumentError(f"'q' may hold at most {MAX_QUERY} characters.", param="q")
    page = await request.app[STORAGE].search_threads(query, read_page(request, ThreadId))
    return json_response(list_envelope([*map(thread_match_from_proto, page.matches)], has_more=page.has_more))


def thread_id_of(request: web.Request) -> ThreadId:
    """The thread that the path names. Raises NotFoundError when it cannot be a thread's id."""
    return path_id(request, "thread_id", ThreadId)


def _thread_response(thread: threads_pb2.Thread) -> web.Response:
    return json_response(thread_from_proto(thread), headers=etag(thread.revision))

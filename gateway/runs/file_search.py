"""The tool `file_search` in runs of the Assistants API: a step in front of the answer.

What was found is the run's own: the step is stored before the model is asked, and from it every repetition and every
later round tells the model the same.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

from gateway.convert.items import found_by
from gateway.convert.json_fields import from_text, to_text
from gateway.convert.runs import step_from_proto
from gateway.queueing.priority import kept
from gateway.runs import derived_ids
from gateway.runs.calls import calls_of
from gateway.runs.conversation import message_text
from gateway.runs.log import event_frame
from gateway.runs.states import is_response
from gateway.runs.steps import call_details, end_step, new_step, step_delta_frame, step_frame
from gateway.services.storage import StorageClient
from gateway.vector_stores.excerpts import Excerpt
from gateway.vector_stores.file_search import FILE_SEARCH, MAX_QUERY, FileSearch, find_excerpts
from gateway.vector_stores.search import ChunkSearcher
from jan.errors import NotFoundError
from jan.storage.v1 import messages_pb2, paging_pb2, runs_pb2

_RANKER = "default_2024_08_21"


def file_search_tool(run: runs_pb2.Run) -> dict[str, Any] | None:
    """The run's tool, unless it has none or is to use none."""
    if from_text(run.tool_choice_json) == "none":
        return None
    tools = from_text(run.tools_json, [])
    return next((tool for tool in tools if tool.get("type") == FILE_SEARCH and tool.get("enabled", True)), None)


async def search_step(
    storage: StorageClient,
    searcher: ChunkSearcher,
    run: runs_pb2.Run,
    must_stop: Callable[[], Awaitable[bool]],
) -> runs_pb2.RunStep | None:
    """The step that tells of the search, made if this is the first time; None when there is nothing to search.

    must_stop: asked again and again while files are waited for. Raises as `find_excerpts`.
    """
    tool = file_search_tool(run)
    if tool is None:
        return None
    stored = await stored_search_step(storage, run)
    if stored is not None:
        return stored
    store_ids = await _vector_store_ids(storage, run)
    question = question_of(await _newest(storage, run.thread_id))
    if not store_ids or not question:
        return None
    search = FileSearch(store_ids, question, tool.get(FILE_SEARCH) or {})
    step = new_step(run, derived_ids.search_step_id(run.id), runs_pb2.RUN_STEP_TYPE_TOOL_CALLS, call_details([]))
    priority = kept(run.priority)
    found = await find_excerpts(storage, searcher, search, tenant=run.tenant, priority=priority, must_stop=must_stop)
    ranking = {"ranker": _RANKER, "score_threshold": search.score_threshold}
    call = {
        "id": derived_ids.search_call_id(run.id),
        "type": FILE_SEARCH,
        FILE_SEARCH: {"ranking_options": ranking, "results": [*map(_result, found)]},
    }
    step.step_details_json = to_text(call_details([call]))
    end_step(step, runs_pb2.RUN_STEP_STATUS_COMPLETED)
    return await storage.put_run_step(step)


async def stored_search_step(storage: StorageClient, run: runs_pb2.Run) -> runs_pb2.RunStep | None:
    """The step of a search that was made; None when there was none."""
    if file_search_tool(run) is None:
        return None
    try:
        return await storage.get_run_step(run.thread_id, run.id, derived_ids.search_step_id(run.id))
    except NotFoundError:
        return None


async def told_excerpts(
    storage: StorageClient, run: runs_pb2.Run, messages: Sequence[messages_pb2.Message]
) -> list[Excerpt]:
    """What a run's model is told of files: what its own search found, else what the thread's last one did.

    messages: the thread's, oldest first. A response's own search is one of them.
    """
    step = None if is_response(run) else await stored_search_step(storage, run)
    return excerpts_of(step) or last_found(messages)


def excerpts_of(step: runs_pb2.RunStep | None) -> list[Excerpt]:
    """What a run's search found, the best first."""
    calls = [] if step is None else calls_of(step)
    results = calls[0][FILE_SEARCH]["results"] if calls else []
    return [
        Excerpt(result["file_id"], result["file_name"], result["content"][0]["text"], result["score"])
        for result in results
    ]


def last_found(messages: Sequence[messages_pb2.Message]) -> list[Excerpt]:
    """What the last of the searches that stand in a thread as items found, if any found something."""
    return next((found for message in reversed(messages) if (found := found_by(message))), [])


def question_of(newest: Iterable[messages_pb2.Message]) -> str:
    """What the person said last; the newest message first."""
    said = (message_text(message) for message in newest if message.role == messages_pb2.MESSAGE_ROLE_USER)
    return next(said, "").strip()[:MAX_QUERY]


def search_frames(step: runs_pb2.RunStep) -> list[bytes]:
    """The events that tell of a search, its beginning without calls as helpers want it."""
    begun = step_from_proto(step) | {
        "status": "in_progress",
        "completed_at": None,
        "step_details": call_details([]),
        "usage": None,
    }
    call = {"index": 0, "id": derived_ids.search_call_id(step.run_id), "type": FILE_SEARCH, FILE_SEARCH: {}}
    return [
        event_frame("thread.run.step.created", begun),
        event_frame("thread.run.step.in_progress", begun),
        step_delta_frame(step.id, call),
        step_frame(step),
    ]


def _result(excerpt: Excerpt) -> dict[str, Any]:
    content = [{"type": "text", "text": excerpt.text}]
    return {"file_id": excerpt.file_id, "file_name": excerpt.filename, "score": excerpt.score, "content": content}


async def _newest(storage: StorageClient, thread_id: str) -> Sequence[messages_pb2.Message]:
    """The thread's end, the newest first."""
    newest = messages_pb2.ListMessagesRequest(
        thread_id=thread_id, page=paging_pb2.PageRequest(page_size=20, order=paging_pb2.ORDER_DESC)
    )
    return (await storage.list_messages(newest)).messages


async def _vector_store_ids(storage: StorageClient, run: runs_pb2.Run) -> list[str]:
    """The stores of the thread and of the assistant, each once."""
    thread = await storage.get_thread(run.thread_id)
    resources = [thread.tool_resources_json]
    with contextlib.suppress(NotFoundError):  # a run outlives its assistant
        resources.append((await storage.get_assistant(run.assistant_id)).tool_resources_json)
    named = [(from_text(text) or {}).get(FILE_SEARCH) or {} for text in resources]
    return list(dict.fromkeys(store_id for each in named for store_id in each.get("vector_store_ids") or ()))

"""The tool `file_search` in runs: the vector stores are searched before the model is asked for the first time.

Small models call tools badly or not at all, so nothing waits for a call (docs/decisions/0036). What was found is the
run's own: a step that is stored before the model is asked, from which every repetition and every later round tells the
model the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any

from gateway.convert.json_fields import from_text, to_text
from gateway.convert.runs import step_from_proto
from gateway.queueing.priority import kept
from gateway.runs import derived_ids
from gateway.runs.calls import calls_of
from gateway.runs.conversation import message_text
from gateway.runs.log import event_frame
from gateway.runs.steps import call_details, end_step, new_step, step_delta_frame, step_frame
from gateway.services.storage import StorageClient
from gateway.vector_stores.search import ChunkSearcher
from jan.backoff import Backoff
from jan.errors import FailedPreconditionError, InvalidArgumentError, NotFoundError
from jan.storage.v1 import messages_pb2, paging_pb2, runs_pb2, vector_stores_pb2

Result = dict[str, Any]

FILE_SEARCH = "file_search"
# A few chunks of 800 tokens: small models have little room, and lose the question among more.
DEFAULT_RESULTS = 5
# In all; what does not fit any more is left out whole, the first excepted.
MAX_TEXT = 16_000
# As long as a search takes questions.
_MAX_QUERY = 65_536
# Of the best result's score. What is further off has a word or two in common, and leads small models astray.
_LEAST_SHARE = 0.5
_PATIENCE_SECONDS = 60.0
# At most this long a cancel is not heard.
_LOOK_SECONDS = 0.5
_RANKER = "default_2024_08_21"
_MARK = re.compile(r"\[(\d{1,2})\]")
_LONGEST_MARK = len("[12]")
_TOLD = (
    "Excerpts from files follow. Answer from them where they help, and cite each that you use by its number, as in [1]."
)


def file_search_tool(run: runs_pb2.Run) -> dict[str, Any] | None:
    """The run's tool, unless it has none or is to use none."""
    if from_text(run.tool_choice_json) == "none":
        return None
    tools = from_text(run.tools_json, [])
    return next((tool for tool in tools if tool.get("type") == FILE_SEARCH and tool.get("enabled", True)), None)


class SearchStoppedError(Exception):
    """The run is to stop, so nothing was searched."""


async def search_step(
    storage: StorageClient,
    searcher: ChunkSearcher,
    run: runs_pb2.Run,
    must_stop: Callable[[], Awaitable[bool]],
) -> runs_pb2.RunStep | None:
    """The step that tells of the search, made if this is the first time; None when there is nothing to search.

    must_stop: asked again and again while files are waited for. Raises SearchStoppedError: it said so.
    InvalidArgumentError: a vector store is gone, or has expired.
    """
    tool = file_search_tool(run)
    if tool is None:
        return None
    stored = await stored_search_step(storage, run)
    if stored is not None:
        return stored
    store_ids = await _vector_store_ids(storage, run)
    question = await _question(storage, run)
    if not store_ids or not question:
        return None
    options = tool.get(FILE_SEARCH) or {}
    step = new_step(run, derived_ids.search_step_id(run.id), runs_pb2.RUN_STEP_TYPE_TOOL_CALLS, call_details([]))
    for store_id in store_ids:
        await _until_processed(storage, store_id, must_stop)
    hits = await _hits(searcher, run, store_ids, question, options)
    found = _told(hits, options.get("max_num_results") or DEFAULT_RESULTS)
    ranking = {"ranker": _RANKER, "score_threshold": _threshold(options)}
    call = {
        "id": derived_ids.search_call_id(run.id),
        "type": FILE_SEARCH,
        FILE_SEARCH: {"ranking_options": ranking, "results": found},
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


def results_of(step: runs_pb2.RunStep | None) -> list[Result]:
    """What a search found, the best first."""
    calls = [] if step is None else calls_of(step)
    return calls[0][FILE_SEARCH]["results"] if calls else []


def with_excerpts(messages: Sequence[dict[str, Any]], results: Sequence[Result]) -> list[dict[str, Any]]:
    """A conversation with what was found in its instructions."""
    if not results:
        return list(messages)
    excerpts = [
        f"[{number}] {result['file_name']}\n{result['content'][0]['text']}" for number, result in enumerate(results, 1)
    ]
    told = "\n\n".join([_TOLD, *excerpts])
    if messages and messages[0]["role"] == "system":
        told = f"{messages[0]['content']}\n\n{told}"
        messages = messages[1:]
    return [{"role": "system", "content": told}, *messages]


def citations(text: str, results: Sequence[Result], *, behind: int = 0) -> list[dict[str, Any]]:
    """The annotations of an answer: every mark such as `[1]` that stands for a result.

    behind: only those that were not whole when the text had so many letters.
    """
    return [
        {
            "type": "file_citation",
            "text": mark[0],
            "start_index": mark.start(),
            "end_index": mark.end(),
            "file_citation": {"file_id": results[int(mark[1]) - 1]["file_id"]},
        }
        for mark in _MARK.finditer(text, max(0, behind - _LONGEST_MARK))
        if mark.end() > behind and 1 <= int(mark[1]) <= len(results)
    ]


async def _vector_store_ids(storage: StorageClient, run: runs_pb2.Run) -> list[str]:
    """The stores of the thread and of the assistant, each once."""
    thread = await storage.get_thread(run.thread_id)
    resources = [thread.tool_resources_json]
    with contextlib.suppress(NotFoundError):  # a run outlives its assistant
        resources.append((await storage.get_assistant(run.assistant_id)).tool_resources_json)
    named = [(from_text(text) or {}).get(FILE_SEARCH) or {} for text in resources]
    return list(dict.fromkeys(store_id for each in named for store_id in each.get("vector_store_ids") or ()))


async def _question(storage: StorageClient, run: runs_pb2.Run) -> str:
    """What the person said last."""
    newest = messages_pb2.ListMessagesRequest(
        thread_id=run.thread_id, page=paging_pb2.PageRequest(page_size=20, order=paging_pb2.ORDER_DESC)
    )
    messages = (await storage.list_messages(newest)).messages
    said = (message_text(message) for message in messages if message.role == messages_pb2.MESSAGE_ROLE_USER)
    return next(said, "").strip()[:_MAX_QUERY]


async def _hits(
    searcher: ChunkSearcher, run: runs_pb2.Run, store_ids: Sequence[str], question: str, options: dict[str, Any]
) -> list[vector_stores_pb2.VectorStoreHit]:
    """The best chunks of all the stores, the best first."""
    hits: list[vector_stores_pb2.VectorStoreHit] = []
    for store_id in store_ids:
        request = vector_stores_pb2.SearchVectorStoreRequest(
            vector_store_id=store_id,
            queries=[question],
            max_results=options.get("max_num_results") or DEFAULT_RESULTS,
            score_threshold=_threshold(options),
        )
        with _asked_of_the_caller():
            hits += (await searcher.search(request, tenant=run.tenant, priority=kept(run.priority))).hits
    hits.sort(key=lambda hit: -hit.score)
    # A fused score is one of ranks: half of the best is what any chunk has that is first by meaning alone.
    return [hit for hit in hits if hit.by_meaning or hit.score >= _LEAST_SHARE * hits[0].score]


def _told(hits: Sequence[vector_stores_pb2.VectorStoreHit], limit: int) -> list[Result]:
    """As many of them as a model is told of."""
    results: list[Result] = []
    length = 0
    for hit in hits[:limit]:
        length += len(hit.text)
        if results and length > MAX_TEXT:
            break
        content = [{"type": "text", "text": hit.text[:MAX_TEXT]}]
        results.append(
            {"file_id": hit.file_id, "file_name": hit.filename, "score": round(hit.score, 6), "content": content}
        )
    return results


async def _until_processed(storage: StorageClient, store_id: str, must_stop: Callable[[], Awaitable[bool]]) -> None:
    """Wait for the store's files, as OpenAI's runs do for a minute; what is not ready then is not found.

    Raises SearchStoppedError. InvalidArgumentError: the store is gone.
    """
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_PATIENCE_SECONDS):
            backoff = Backoff(most_seconds=_LOOK_SECONDS)
            while await _is_in_progress(storage, store_id):
                if await must_stop():
                    raise SearchStoppedError
                await backoff.wait()


async def _is_in_progress(storage: StorageClient, store_id: str) -> bool:
    with _asked_of_the_caller():
        store = await storage.vector_stores.get(store_id)
    return store.state == vector_stores_pb2.VECTOR_STORE_STATE_IN_PROGRESS


@contextlib.contextmanager
def _asked_of_the_caller() -> Iterator[None]:
    """A vector store that is gone or has expired is no fault of the server, as runs would say of other errors."""
    try:
        yield
    except (NotFoundError, FailedPreconditionError) as error:
        raise InvalidArgumentError(f"The run cannot search its files: {error.message}") from error


def _threshold(options: dict[str, Any]) -> float:
    return float((options.get("ranking_options") or {}).get("score_threshold") or 0)

"""From a run to the job that answers it: who speaks, with which parameters, over which conversation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from gateway.completions.chat import chat_body, chat_job
from gateway.completions.parameters import layered
from gateway.convert.json_fields import from_text
from gateway.images.shown import Images
from gateway.models.lookup import REMOTE_ENGINE, find_model
from gateway.models.settings import configured_spec
from gateway.models.threads import Layer, layers
from gateway.queueing.priority import kept
from gateway.responses.objects import may_cut
from gateway.runs import derived_ids
from gateway.runs.conversation import UNSEEN_IMAGE, conversation
from gateway.runs.file_search import told_excerpts
from gateway.runs.states import is_response
from gateway.runs.truncation import check_limits, truncated
from gateway.services.inference import InferenceClient
from gateway.services.storage import StorageClient
from gateway.vector_stores.excerpts import Excerpt, with_excerpts
from gateway.vector_stores.file_search import FILE_SEARCH
from jan.errors import NotFoundError
from jan.inference.v1 import jobs_pb2
from jan.storage.v1 import assistants_pb2, runs_pb2


async def job_for(
    storage: StorageClient, inference: InferenceClient, images: Images, run: runs_pb2.Run, timeout_seconds: int
) -> tuple[jobs_pb2.Job, list[Excerpt]]:
    """The job for a run's present round, and what its model is told of files.

    The same id whoever makes it, so submitting it again is harmless.

    Raises NotFoundError: the thread or the model is gone. LimitSpentError: the run has no tokens left for it.
    InvalidArgumentError, PermissionDeniedError: an image of the newest message cannot be shown.
    """
    check_limits(run)
    thread = await storage.get_thread(run.thread_id)
    model = await find_model(storage, run.model)
    assistant = await _assistant_or_none(storage, run.assistant_id)
    steps = [await _calls_of(storage, run, round_) for round_ in range(1, run.round)]
    said = await storage.all_messages(run.thread_id)
    excerpts = await told_excerpts(storage, run, said)
    # A remote model is shown the images of a response as those of a chat; those of threads when its settings say so.
    passes_on = is_response(run) and model.engine == REMOTE_ENGINE
    whole = conversation(run, said, steps, sees=model.sees or passes_on)
    whole = replace(whole, system=with_excerpts(whole.system, excerpts))
    below = layers(thread, run.assistant_id, assistant, model)
    if is_response(run):  # it says itself what it wants of the model; nobody named an assistant (decision 0037)
        below = below[:1]
    spec = configured_spec(model, *(layer.settings for layer in below[1:]))
    parameters = effective_parameters(run, below)
    messages = await truncated(inference, spec, run, whole, parameters) if may_cut(run) else whole.messages()
    messages = await images.shown_of_thread(messages, UNSEEN_IMAGE, fetches=not passes_on)
    body = chat_body(model, messages, parameters, stream=True, include_usage=True)
    job = chat_job(
        derived_ids.job_id(run.id, run.round),
        derived_ids.completion_id(run.id, run.round),
        model,
        body,
        tenant=run.tenant,
        stream=True,
        priority=kept(run.priority),
        timeout_seconds=timeout_seconds,
        spec=spec,
    )
    job.thread_id = run.thread_id
    return job, excerpts


def effective_parameters(run: runs_pb2.Run, below: Sequence[Layer]) -> dict[str, Any]:
    """Request parameters, key by key: run over thread over assistant over model.json.

    The run's own values hold what its request, its thread and its assistant's OpenAI fields said when it was made.
    """
    return layered(*(layer.parameters for layer in below), _own_parameters(run))


def _own_parameters(run: runs_pb2.Run) -> dict[str, Any]:
    response_format = from_text(run.response_format_json, "auto")
    limited = run.HasField("max_completion_tokens")
    return {
        "temperature": run.temperature if run.HasField("temperature") else None,
        "top_p": run.top_p if run.HasField("top_p") else None,
        "max_tokens": run.max_completion_tokens - run.usage.completion_tokens if limited else None,
        "response_format": response_format if isinstance(response_format, dict) else None,
        "reasoning_effort": run.reasoning_effort or None,
        **_tool_parameters(run),
    }


def _tool_parameters(run: runs_pb2.Run) -> dict[str, Any]:
    """What the model is told of functions; nothing when it has none, or Jan's switched-off tools only."""
    tools = [tool for tool in from_text(run.tools_json, []) if tool.get("type") == "function"]
    if not tools:
        return {}
    # A choice that forces a call binds the first round only: if it bound each, no run could end. One of a search is
    # kept by the search before that round.
    choice = from_text(run.tool_choice_json, "auto") if run.round <= 1 else _unforced(run)
    if isinstance(choice, dict) and choice.get("type") == FILE_SEARCH:
        choice = "auto"
    return {"tools": tools, "tool_choice": choice, "parallel_tool_calls": run.parallel_tool_calls}


def _unforced(run: runs_pb2.Run) -> str:
    return "none" if from_text(run.tool_choice_json) == "none" else "auto"


async def _calls_of(storage: StorageClient, run: runs_pb2.Run, round_: int) -> runs_pb2.RunStep:
    """The calls of a round that is over, with their outputs."""
    return await storage.get_run_step(run.thread_id, run.id, derived_ids.calls_step_id(run.id, round_))


async def _assistant_or_none(storage: StorageClient, assistant_id: str) -> assistants_pb2.Assistant | None:
    """The assistant, unless it was deleted: a run keeps its own copy of what matters and outlives it."""
    try:
        return await storage.get_assistant(assistant_id)
    except NotFoundError:
        return None

"""Accepting a run: its own copy of what it runs with, so that it outlives changes to its assistant."""

from __future__ import annotations

from datetime import timedelta

from gateway.completions.parameters import layered
from gateway.convert.json_fields import from_text, to_text
from gateway.models.threads import entry_of, layers
from gateway.queueing.priority import Priority, name_of
from gateway.runs import states
from gateway.runs.steps import now
from gateway.runs.tools import check_tools
from gateway.schemas.common import JsonObject, RequestModel
from gateway.schemas.runs import CreateRun, RunRequest, RunToolChoice
from gateway.services.storage import StorageClient
from jan.errors import FailedPreconditionError, InvalidArgumentError, NotFoundError
from jan.ids import AssistantId, RunId
from jan.storage.v1 import assistants_pb2, models_pb2, runs_pb2, threads_pb2

# OpenAI's runs expire after ten minutes.
RUN_LIFETIME = timedelta(minutes=10)

_NOT_HERE = frozenset({assistants_pb2.ASSISTANT_STATE_TO_DOWNLOAD, assistants_pb2.ASSISTANT_STATE_DOWNLOADING})


async def find_assistant(storage: StorageClient, assistant_id: str) -> assistants_pb2.Assistant:
    """The assistant that a run names.

    Raises NotFoundError with OpenAI's text. FailedPreconditionError: it is not here yet.
    """
    try:
        assistant = await storage.get_assistant(AssistantId.parse(assistant_id))
    except (NotFoundError, InvalidArgumentError):
        raise NotFoundError(f"No assistant found with id '{assistant_id[:64]}'.", param="assistant_id") from None
    if assistant.state in _NOT_HERE:
        raise FailedPreconditionError(
            f"The assistant '{assistant.id}' is not downloaded yet.", param="assistant_id", code="assistant_not_ready"
        )
    return assistant


def model_named(thread: threads_pb2.Thread, assistant: assistants_pb2.Assistant, request: RunRequest) -> str:
    """The model that is to answer, from the first layer that names one; "" or `*` for any."""
    return request.model or entry_of(thread, assistant.id).model_id or assistant.model


def new_run(
    model: models_pb2.Model,
    thread: threads_pb2.Thread,
    assistant: assistants_pb2.Assistant,
    request: RunRequest,
    *,
    run_id: RunId,
    tenant: str,
    priority: Priority,
) -> runs_pb2.Run:
    """A queued run of a model, with each value from the first layer that has it: request, thread, assistant.

    Raises InvalidArgumentError: tools that do not work here, or a choice that is not among them.
    """
    tools = from_text(assistant.tools_json, []) if request.tools is None else [tool.as_sent() for tool in request.tools]
    check_tools(tools, request.tool_choice)
    override = entry_of(thread, assistant.id)
    below = layered(*(layer.parameters for layer in layers(thread, assistant.id, assistant, model)[1:]))
    run = runs_pb2.Run(
        id=run_id,
        thread_id=thread.id,
        assistant_id=assistant.id,
        status=states.QUEUED,
        round=1,
        created_at=now(),
        model=model.id,
        instructions=_instructions(request, override, assistant),
        tools_json=to_text(tools),
        metadata_json=to_text(request.metadata or {}),
        max_prompt_tokens=request.max_prompt_tokens,
        max_completion_tokens=request.max_completion_tokens,
        tool_choice_json=to_text(_choice(request.tool_choice)),
        truncation_strategy_json=to_text(request.truncation_strategy and request.truncation_strategy.model_dump()),
        response_format_json=to_text(_dumped(request.response_format)) or assistant.response_format_json,
        parallel_tool_calls=request.parallel_tool_calls is not False,
        temperature=_first(request.temperature, below.get("temperature")),
        top_p=_first(request.top_p, below.get("top_p")),
        reasoning_effort=request.reasoning_effort or assistant.reasoning_effort,
        tenant=tenant,
        priority=name_of(priority),
    )
    run.expires_at.FromDatetime(run.created_at.ToDatetime() + RUN_LIFETIME)
    return run


def _instructions(
    request: RunRequest, override: threads_pb2.ThreadAssistant, assistant: assistants_pb2.Assistant
) -> str:
    base = request.instructions if request.instructions is not None else override.instructions or assistant.instructions
    extra = (request.additional_instructions or "") if isinstance(request, CreateRun) else ""
    return "\n".join(part for part in (base, extra) if part)


def _choice(choice: RunToolChoice | None) -> str | JsonObject | None:
    return choice if choice is None or isinstance(choice, str) else choice.model_dump(exclude_none=True)


def _dumped(value: RequestModel | None) -> JsonObject | None:
    return None if value is None else value.model_dump(exclude_none=True, by_alias=True)


def _first(*values: float | None) -> float | None:
    return next((value for value in values if value is not None), None)

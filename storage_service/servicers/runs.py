"""RunService over the store."""

from typing import Any

from grpc import aio

from jan.errors import InvalidArgumentError
from jan.ids import AssistantId, RunId, StepId, ThreadId
from jan.storage.v1 import runs_pb2 as pb
from jan.storage.v1.runs_pb2_grpc import RunServiceServicer
from jan.type.v1 import usage_pb2
from storage_service.access import Access
from storage_service.servicers import messages, values
from storage_service.store.records import Failure, Run, RunStatus, RunStep, StepStatus, StepType, Usage
from storage_service.store.store import Store

Context = aio.ServicerContext[Any, Any]

_STATUS = {status: pb.RunStatus.Value(f"RUN_STATUS_{status.name}") for status in RunStatus}
_STATUS_FROM = {number: status for status, number in _STATUS.items()}
_STEP_STATUS = {status: pb.RunStepStatus.Value(f"RUN_STEP_STATUS_{status.name}") for status in StepStatus}
_STEP_STATUS_FROM = {number: status for status, number in _STEP_STATUS.items()}
_STEP_TYPE = {kind: pb.RunStepType.Value(f"RUN_STEP_TYPE_{kind.name}") for kind in StepType}
_STEP_TYPE_FROM = {number: kind for kind, number in _STEP_TYPE.items()}


class RunServicer(RunServiceServicer):
    """See runs.proto."""

    def __init__(self, access: Access, store: Store) -> None:
        self._access = access
        self._store = store

    async def CreateRun(self, request: pb.CreateRunRequest, context: Context) -> pb.CreateRunResponse:
        """See runs.proto."""
        run = from_proto(request.run)
        first = [messages.from_proto(run.thread_id, message) for message in request.additional_messages]
        stored = await self._access.run_alone(run.thread_id, lambda: self._store.create_run(run, first))
        return pb.CreateRunResponse(run=to_proto(stored))

    async def GetRun(self, request: pb.GetRunRequest, context: Context) -> pb.GetRunResponse:
        """See runs.proto."""
        thread_id, run_id = ThreadId.parse(request.thread_id), RunId.parse(request.run_id)
        run = await self._access.run(lambda: self._store.runs.get(thread_id, run_id))
        return pb.GetRunResponse(run=to_proto(run))

    async def ListRuns(self, request: pb.ListRunsRequest, context: Context) -> pb.ListRunsResponse:
        """See runs.proto."""
        thread_id, query = ThreadId.parse(request.thread_id), values.page_query(request.page)
        page = await self._access.run(lambda: self._store.runs.page(thread_id, query))
        return pb.ListRunsResponse(runs=map(to_proto, page.items), has_more=page.has_more)

    async def ListActiveRuns(self, request: pb.ListActiveRunsRequest, context: Context) -> pb.ListActiveRunsResponse:
        """See runs.proto."""
        runs = await self._access.run(self._store.runs.all_active)
        return pb.ListActiveRunsResponse(runs=map(to_proto, runs))

    async def UpdateRun(self, request: pb.UpdateRunRequest, context: Context) -> pb.UpdateRunResponse:
        """See runs.proto."""
        run, steps = from_proto(request.run), [step_from_proto(step) for step in request.steps]
        stored = await self._access.run_alone(run.thread_id, lambda: self._store.runs.update(run, steps))
        return pb.UpdateRunResponse(run=to_proto(stored))

    async def PutRunStep(self, request: pb.PutRunStepRequest, context: Context) -> pb.PutRunStepResponse:
        """See runs.proto."""
        step = step_from_proto(request.step)
        stored = await self._access.run_alone(step.thread_id, lambda: self._store.runs.put_step(step))
        return pb.PutRunStepResponse(step=step_to_proto(stored))

    async def GetRunStep(self, request: pb.GetRunStepRequest, context: Context) -> pb.GetRunStepResponse:
        """See runs.proto."""
        thread_id, run_id = ThreadId.parse(request.thread_id), RunId.parse(request.run_id)
        step_id = StepId.parse(request.step_id)
        step = await self._access.run(lambda: self._store.runs.get_step(thread_id, run_id, step_id))
        return pb.GetRunStepResponse(step=step_to_proto(step))

    async def ListRunSteps(self, request: pb.ListRunStepsRequest, context: Context) -> pb.ListRunStepsResponse:
        """See runs.proto."""
        thread_id, run_id = ThreadId.parse(request.thread_id), RunId.parse(request.run_id)
        query = values.page_query(request.page)
        page = await self._access.run(lambda: self._store.runs.page_steps(thread_id, run_id, query))
        return pb.ListRunStepsResponse(steps=map(step_to_proto, page.items), has_more=page.has_more)


def to_proto(run: Run) -> pb.Run:
    """A run for the wire."""
    return pb.Run(
        id=run.id,
        thread_id=run.thread_id,
        assistant_id=run.assistant_id,
        revision=run.revision,
        status=_STATUS[run.status],
        created_at=values.timestamp(run.created_ms),
        expires_at=values.timestamp(run.expires_ms),
        started_at=values.timestamp(run.started_ms),
        cancelled_at=values.timestamp(run.cancelled_ms),
        failed_at=values.timestamp(run.failed_ms),
        completed_at=values.timestamp(run.completed_ms),
        last_error=_failure_to_proto(run.last_error),
        incomplete_reason=run.incomplete_reason,
        model=run.model,
        instructions=run.instructions,
        tools_json=values.dump(run.tools),
        metadata_json=values.dump(run.metadata),
        usage=_usage_to_proto(run.usage),
        max_prompt_tokens=run.max_prompt_tokens,
        max_completion_tokens=run.max_completion_tokens,
        truncation_strategy_json=values.dump(run.truncation_strategy),
        tool_choice_json=values.dump(run.tool_choice),
        response_format_json=values.dump(run.response_format),
        parallel_tool_calls=run.parallel_tool_calls,
        temperature=run.temperature,
        top_p=run.top_p,
        reasoning_effort=run.reasoning_effort,
        tenant=run.tenant,
        priority=run.priority,
        round=run.round,
        required_action_json=values.dump(run.required_action),
        response_json=values.dump(run.response),
    )


def from_proto(run: pb.Run) -> Run:
    """A run from the wire. Raises InvalidArgumentError: a bad id or JSON text, no status or no creation time."""
    status = _STATUS_FROM.get(run.status)
    created_ms = values.milliseconds(run.created_at)
    if status is None or created_ms is None:
        raise InvalidArgumentError("A run needs a status and a time of creation.", param="run")
    return Run(
        id=RunId.parse(run.id),
        thread_id=ThreadId.parse(run.thread_id),
        assistant_id=AssistantId.parse(run.assistant_id),
        status=status,
        created_ms=created_ms,
        revision=run.revision,
        expires_ms=values.milliseconds(run.expires_at),
        started_ms=values.milliseconds(run.started_at),
        cancelled_ms=values.milliseconds(run.cancelled_at),
        failed_ms=values.milliseconds(run.failed_at),
        completed_ms=values.milliseconds(run.completed_at),
        last_error=_failure_from_proto(run.last_error) if run.HasField("last_error") else None,
        incomplete_reason=run.incomplete_reason,
        model=run.model,
        instructions=run.instructions,
        tools=values.load_objects(run.tools_json, "tools"),
        metadata=values.load_object(run.metadata_json, "metadata"),
        usage=_usage_from_proto(run.usage) if run.HasField("usage") else None,
        max_prompt_tokens=run.max_prompt_tokens if run.HasField("max_prompt_tokens") else None,
        max_completion_tokens=run.max_completion_tokens if run.HasField("max_completion_tokens") else None,
        truncation_strategy=values.load_optional_object(run.truncation_strategy_json, "truncation_strategy"),
        tool_choice=values.load(run.tool_choice_json, "tool_choice"),
        response_format=values.load(run.response_format_json, "response_format"),
        parallel_tool_calls=run.parallel_tool_calls,
        temperature=run.temperature if run.HasField("temperature") else None,
        top_p=run.top_p if run.HasField("top_p") else None,
        reasoning_effort=run.reasoning_effort,
        tenant=run.tenant,
        priority=run.priority,
        round=max(1, run.round),
        required_action=values.load_optional_object(run.required_action_json, "required_action"),
        response=values.load_optional_object(run.response_json, "response"),
    )


def step_to_proto(step: RunStep) -> pb.RunStep:
    """A run step for the wire."""
    return pb.RunStep(
        id=step.id,
        run_id=step.run_id,
        thread_id=step.thread_id,
        assistant_id=step.assistant_id,
        type=_STEP_TYPE[step.type],
        status=_STEP_STATUS[step.status],
        created_at=values.timestamp(step.created_ms),
        completed_at=values.timestamp(step.completed_ms),
        failed_at=values.timestamp(step.failed_ms),
        cancelled_at=values.timestamp(step.cancelled_ms),
        expired_at=values.timestamp(step.expired_ms),
        last_error=_failure_to_proto(step.last_error),
        step_details_json=values.dump(step.step_details),
        usage=_usage_to_proto(step.usage),
        metadata_json=values.dump(step.metadata),
    )


def step_from_proto(step: pb.RunStep) -> RunStep:
    """A run step from the wire. Raises InvalidArgumentError: a bad id or JSON text; no type, status or time."""
    kind, status = _STEP_TYPE_FROM.get(step.type), _STEP_STATUS_FROM.get(step.status)
    created_ms = values.milliseconds(step.created_at)
    if kind is None or status is None or created_ms is None:
        raise InvalidArgumentError("A run step needs a type, a status and a time of creation.", param="step")
    return RunStep(
        id=StepId.parse(step.id),
        run_id=RunId.parse(step.run_id),
        thread_id=ThreadId.parse(step.thread_id),
        assistant_id=AssistantId.parse(step.assistant_id),
        type=kind,
        status=status,
        created_ms=created_ms,
        completed_ms=values.milliseconds(step.completed_at),
        failed_ms=values.milliseconds(step.failed_at),
        cancelled_ms=values.milliseconds(step.cancelled_at),
        expired_ms=values.milliseconds(step.expired_at),
        last_error=_failure_from_proto(step.last_error) if step.HasField("last_error") else None,
        step_details=values.load_object(step.step_details_json, "step_details"),
        usage=_usage_from_proto(step.usage) if step.HasField("usage") else None,
        metadata=values.load_object(step.metadata_json, "metadata"),
    )


def _failure_to_proto(failure: Failure | None) -> pb.RunError | None:
    return None if failure is None else pb.RunError(code=failure.code, message=failure.message, param=failure.param)


def _failure_from_proto(error: pb.RunError) -> Failure:
    return Failure(error.code, error.message, error.param)


def _usage_to_proto(usage: Usage | None) -> usage_pb2.Usage | None:
    if usage is None:
        return None
    thought = usage_pb2.CompletionTokensDetails(reasoning_tokens=usage.reasoning_tokens)
    return usage_pb2.Usage(
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        cached_tokens=usage.cached_tokens,
        completion_tokens_details=thought if usage.reasoning_tokens else None,
    )


def _usage_from_proto(usage: usage_pb2.Usage) -> Usage:
    reasoning_tokens = usage.completion_tokens_details.reasoning_tokens
    return Usage(usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens, reasoning_tokens)

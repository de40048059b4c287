"""A line of runs.jsonl. Jan never wrote runs, so the form is ours: OpenAI's names, times in milliseconds.

Records and lines name the same things, so the mapping is one table from field to key; what is None is left out.
"""

from dataclasses import fields as dataclass_fields
from dataclasses import is_dataclass
from typing import Any

from jan.errors import InvalidArgumentError
from jan.ids import AssistantId, RunId, StepId, ThreadId
from storage_service.store.forms import fields
from storage_service.store.records import (
    Failure,
    JsonObject,
    Run,
    RunStatus,
    RunStep,
    StepStatus,
    StepType,
    Usage,
)

RUN_OBJECT = "thread.run"
STEP_OBJECT = "thread.run.step"


def from_json(thread_id: ThreadId, raw: JsonObject) -> Run | RunStep | None:
    """The run or step on a line, or None when it is neither or lacks what makes it one."""
    try:
        match raw.get("object"):
            case "thread.run":
                return _run(thread_id, raw)
            case "thread.run.step":
                return _step(thread_id, raw)
    except (InvalidArgumentError, ValueError):
        pass
    return None


def to_json(record: Run | RunStep) -> JsonObject:
    """The line for a run or step."""
    kind = RUN_OBJECT if isinstance(record, Run) else STEP_OBJECT
    body = {_key(field.name): _plain(getattr(record, field.name)) for field in dataclass_fields(record)}
    return {"id": record.id, "object": kind} | fields.without_none(body)


def _key(name: str) -> str:
    """`created_ms` is `created_at` in the file: OpenAI's name, our unit."""
    return name.removesuffix("_ms") + "_at" if name.endswith("_ms") else name


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return {field.name: getattr(value, field.name) for field in dataclass_fields(value)}
    return value


def _run(thread_id: ThreadId, raw: JsonObject) -> Run:
    parallel = raw.get("parallel_tool_calls")
    return Run(
        id=RunId.parse(fields.text(raw, "id")),
        thread_id=thread_id,
        assistant_id=AssistantId.parse(fields.text(raw, "assistant_id")),
        status=RunStatus(fields.text(raw, "status")),
        created_ms=fields.time_ms(raw, "created_at") or 0,
        revision=fields.integer(raw, "revision") or 0,
        expires_ms=fields.time_ms(raw, "expires_at"),
        started_ms=fields.time_ms(raw, "started_at"),
        cancelled_ms=fields.time_ms(raw, "cancelled_at"),
        failed_ms=fields.time_ms(raw, "failed_at"),
        completed_ms=fields.time_ms(raw, "completed_at"),
        last_error=_failure(raw),
        incomplete_reason=fields.text(raw, "incomplete_reason"),
        model=fields.text(raw, "model"),
        instructions=fields.text(raw, "instructions"),
        tools=fields.objects(raw, "tools"),
        metadata=fields.obj(raw, "metadata"),
        usage=_usage(raw),
        max_prompt_tokens=fields.integer(raw, "max_prompt_tokens"),
        max_completion_tokens=fields.integer(raw, "max_completion_tokens"),
        truncation_strategy=fields.optional_obj(raw, "truncation_strategy"),
        tool_choice=raw.get("tool_choice"),
        response_format=raw.get("response_format"),
        parallel_tool_calls=parallel if isinstance(parallel, bool) else True,
        temperature=fields.number(raw, "temperature"),
        top_p=fields.number(raw, "top_p"),
        reasoning_effort=fields.text(raw, "reasoning_effort"),
        tenant=fields.text(raw, "tenant"),
        priority=fields.text(raw, "priority"),
        round=max(1, fields.integer(raw, "round") or 1),
        required_action=fields.optional_obj(raw, "required_action"),
        response=fields.optional_obj(raw, "response"),
    )


def _step(thread_id: ThreadId, raw: JsonObject) -> RunStep:
    return RunStep(
        id=StepId.parse(fields.text(raw, "id")),
        run_id=RunId.parse(fields.text(raw, "run_id")),
        thread_id=thread_id,
        assistant_id=AssistantId.parse(fields.text(raw, "assistant_id")),
        type=StepType(fields.text(raw, "type")),
        status=StepStatus(fields.text(raw, "status")),
        created_ms=fields.time_ms(raw, "created_at") or 0,
        completed_ms=fields.time_ms(raw, "completed_at"),
        failed_ms=fields.time_ms(raw, "failed_at"),
        cancelled_ms=fields.time_ms(raw, "cancelled_at"),
        expired_ms=fields.time_ms(raw, "expired_at"),
        last_error=_failure(raw),
        step_details=fields.obj(raw, "step_details"),
        usage=_usage(raw),
        metadata=fields.obj(raw, "metadata"),
    )


def _failure(raw: JsonObject) -> Failure | None:
    error = fields.optional_obj(raw, "last_error")
    return None if error is None else Failure(*(fields.text(error, key) for key in ("code", "message", "param")))


def _usage(raw: JsonObject) -> Usage | None:
    usage = fields.optional_obj(raw, "usage")
    if usage is None:
        return None
    names = ("prompt_tokens", "completion_tokens", "cached_tokens", "reasoning_tokens")
    return Usage(*(fields.integer(usage, key) or 0 for key in names))

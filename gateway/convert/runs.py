"""Runs and run steps between storage's records and OpenAI's objects."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gateway.convert.json_fields import from_text, string_map
from gateway.convert.times import optional_seconds, seconds
from gateway.runs.states import REFUSALS
from jan.storage.v1 import runs_pb2
from jan.type.v1.usage_pb2 import Usage

_STEP_TYPES = {
    runs_pb2.RUN_STEP_TYPE_MESSAGE_CREATION: "message_creation",
    runs_pb2.RUN_STEP_TYPE_TOOL_CALLS: "tool_calls",
}
_WAITING = runs_pb2.RUN_STATUS_REQUIRES_ACTION
_ACTIVE = frozenset(
    {
        runs_pb2.RUN_STATUS_QUEUED,
        runs_pb2.RUN_STATUS_IN_PROGRESS,
        runs_pb2.RUN_STATUS_REQUIRES_ACTION,
        runs_pb2.RUN_STATUS_CANCELLING,
    }
)
_SHOW_EXPIRY = _ACTIVE | {runs_pb2.RUN_STATUS_EXPIRED}
_STATUS_PREFIX = "RUN_STATUS_"
_STEP_STATUS_PREFIX = "RUN_STEP_STATUS_"


def run_from_proto(run: runs_pb2.Run) -> dict[str, Any]:
    """OpenAI's `thread.run`; every field is there, null where it says nothing."""
    return {
        "id": run.id,
        "object": "thread.run",
        "created_at": seconds(run.created_at),
        "thread_id": run.thread_id,
        "assistant_id": run.assistant_id,
        "status": status_name(run.status),
        "required_action": from_text(run.required_action_json) if run.status == _WAITING else None,
        "last_error": error_from_proto(run),
        "expires_at": optional_seconds(run, "expires_at") if run.status in _SHOW_EXPIRY else None,
        "started_at": optional_seconds(run, "started_at"),
        "cancelled_at": optional_seconds(run, "cancelled_at"),
        "failed_at": optional_seconds(run, "failed_at"),
        "completed_at": optional_seconds(run, "completed_at"),
        "incomplete_details": {"reason": run.incomplete_reason} if run.incomplete_reason else None,
        "model": run.model,
        "instructions": run.instructions,
        "tools": from_text(run.tools_json, []),
        "metadata": string_map(run.metadata_json),
        "usage": None if run.status in _ACTIVE else usage_from_proto(run.usage),
        "max_prompt_tokens": run.max_prompt_tokens if run.HasField("max_prompt_tokens") else None,
        "max_completion_tokens": run.max_completion_tokens if run.HasField("max_completion_tokens") else None,
        "truncation_strategy": from_text(run.truncation_strategy_json, {"type": "auto", "last_messages": None}),
        "tool_choice": from_text(run.tool_choice_json, "auto"),
        "response_format": from_text(run.response_format_json, "auto"),
        "parallel_tool_calls": run.parallel_tool_calls,
        "temperature": run.temperature if run.HasField("temperature") else None,
        "top_p": run.top_p if run.HasField("top_p") else None,
        "reasoning_effort": run.reasoning_effort or None,
    }


def step_from_proto(step: runs_pb2.RunStep, *, with_content: bool = False) -> dict[str, Any]:
    """OpenAI's `thread.run.step`. with_content: with the texts that a search of files found."""
    details = from_text(step.step_details_json, {})
    return {
        "id": step.id,
        "object": "thread.run.step",
        "created_at": seconds(step.created_at),
        "assistant_id": step.assistant_id,
        "thread_id": step.thread_id,
        "run_id": step.run_id,
        "type": _STEP_TYPES[step.type],
        "status": runs_pb2.RunStepStatus.Name(step.status).removeprefix(_STEP_STATUS_PREFIX).lower(),
        "step_details": details if with_content else _without_content(details),
        "last_error": error_from_proto(step),
        "expired_at": optional_seconds(step, "expired_at"),
        "cancelled_at": optional_seconds(step, "cancelled_at"),
        "failed_at": optional_seconds(step, "failed_at"),
        "completed_at": optional_seconds(step, "completed_at"),
        "metadata": string_map(step.metadata_json),
        "usage": None if step.status == runs_pb2.RUN_STEP_STATUS_IN_PROGRESS else usage_from_proto(step.usage),
    }


def _without_content(details: dict[str, Any]) -> dict[str, Any]:
    for call in details.get("tool_calls", []):
        for result in call.get("file_search", {}).get("results", []):
            result.pop("content", None)
    return details


def status_name(status: runs_pb2.RunStatus.ValueType) -> str:
    """OpenAI's word for a run's status."""
    return runs_pb2.RunStatus.Name(status).removeprefix(_STATUS_PREFIX).lower()


def usage_from_proto(usage: Usage) -> dict[str, Any]:
    """OpenAI's usage of a run or a step that has ended: as far as it is known, zeros where nothing is."""
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }


def error_from_proto(
    record: runs_pb2.Run | runs_pb2.RunStep, named: Callable[[str], str] = str
) -> dict[str, Any] | None:
    """What broke a run, its step or a response, in the codes that OpenAI has for all of them.

    They have no place for the field at fault, so the message tells it. named: what the request called a chat's field;
    the messages of the chat are not the request's.
    """
    if not record.HasField("last_error"):
        return None
    error = record.last_error
    code = "invalid_prompt" if error.code in REFUSALS else error.code
    is_named = error.param and not error.param.startswith("messages")
    return {"code": code, "message": f"Invalid '{named(error.param)}': {error.message}" if is_named else error.message}

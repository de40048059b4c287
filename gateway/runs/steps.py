"""What the steps of a run have in common, whether they write a message or call functions."""

from __future__ import annotations

import time
from typing import Any, TypeAlias

from google.protobuf.timestamp_pb2 import Timestamp

from gateway.convert.json_fields import to_text
from gateway.convert.runs import step_from_proto
from gateway.runs.log import event_frame
from jan.ids import StepId
from jan.storage.v1 import runs_pb2
from jan.type.v1.usage_pb2 import Usage

StepStatus: TypeAlias = runs_pb2.RunStepStatus.ValueType

_ENDS = {
    runs_pb2.RUN_STEP_STATUS_COMPLETED: "completed_at",
    runs_pb2.RUN_STEP_STATUS_CANCELLED: "cancelled_at",
    runs_pb2.RUN_STEP_STATUS_FAILED: "failed_at",
    runs_pb2.RUN_STEP_STATUS_EXPIRED: "expired_at",
}


def new_step(
    run: runs_pb2.Run, step_id: StepId, kind: runs_pb2.RunStepType.ValueType, details: dict[str, Any]
) -> runs_pb2.RunStep:
    """A step that begins now."""
    return runs_pb2.RunStep(
        id=step_id,
        run_id=run.id,
        thread_id=run.thread_id,
        assistant_id=run.assistant_id,
        type=kind,
        status=runs_pb2.RUN_STEP_STATUS_IN_PROGRESS,
        created_at=now(),
        step_details_json=to_text(details),
        metadata_json="{}",
    )


def end_step(step: runs_pb2.RunStep, status: StepStatus, usage: Usage | None = None) -> None:
    """End a step now. usage: what it cost, None when nobody knows."""
    step.status = status
    getattr(step, _ENDS[status]).CopyFrom(now())
    if usage is not None:
        step.usage.CopyFrom(usage)


def step_frame(step: runs_pb2.RunStep) -> bytes:
    """The event of a step that ended."""
    status = runs_pb2.RunStepStatus.Name(step.status).removeprefix("RUN_STEP_STATUS_").lower()
    return event_frame(f"thread.run.step.{status}", step_from_proto(step))


def step_delta_frame(step_id: str, call: dict[str, Any]) -> bytes:
    """The event of a piece of a step's call, which its `index` names; helpers hear of a call from nothing else."""
    return event_frame(
        "thread.run.step.delta",
        {"id": step_id, "object": "thread.run.step.delta", "delta": {"step_details": call_details([call])}},
    )


def call_details(calls: list[dict[str, Any]]) -> dict[str, Any]:
    """OpenAI's step details of calls."""
    return {"type": "tool_calls", "tool_calls": calls}


def now() -> Timestamp:
    """The present, to the millisecond, as Jan's files keep it."""
    stamp = Timestamp()
    stamp.FromMilliseconds(int(time.time() * 1000))
    return stamp

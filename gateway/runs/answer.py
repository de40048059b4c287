"""The answer that a run is writing: its step and message records and the events that tell of them."""

from __future__ import annotations

import time
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from gateway.convert.json_fields import to_text
from gateway.convert.messages import message_from_proto
from gateway.convert.runs import step_from_proto
from gateway.runs import derived_ids
from gateway.runs.log import event_frame
from jan.storage.v1 import messages_pb2, runs_pb2
from jan.type.v1.usage_pb2 import Usage


class Answer:
    """One message in the making, as step `number` of a run."""

    def __init__(self, run: runs_pb2.Run, number: int) -> None:
        self.text = ""
        self.finish_reason = ""
        message_id = derived_ids.message_id(run.id, number)
        self.step = runs_pb2.RunStep(
            id=derived_ids.step_id(run.id, number),
            run_id=run.id,
            thread_id=run.thread_id,
            assistant_id=run.assistant_id,
            type=runs_pb2.RUN_STEP_TYPE_MESSAGE_CREATION,
            status=runs_pb2.RUN_STEP_STATUS_IN_PROGRESS,
            created_at=run.started_at if run.HasField("started_at") else now(),
            step_details_json=to_text(
                {"type": "message_creation", "message_creation": {"message_id": str(message_id)}}
            ),
            metadata_json="{}",
        )
        self.message = messages_pb2.Message(
            id=message_id,
            thread_id=run.thread_id,
            run_id=run.id,
            assistant_id=run.assistant_id,
            role=messages_pb2.MESSAGE_ROLE_ASSISTANT,
            status=messages_pb2.MESSAGE_STATUS_IN_PROGRESS,
            created_at=self.step.created_at,
            content_json="[]",
            metadata_json="{}",
        )

    def begun_at(self, time: Timestamp) -> None:
        """Take over when an earlier execution began this answer."""
        self.step.created_at.CopyFrom(time)
        self.message.created_at.CopyFrom(time)

    def begun_frames(self) -> list[bytes]:
        """The events in front of the first delta; the message's content is empty there, or helpers double the text."""
        step, message = step_from_proto(self.step), message_from_proto(self.message)
        return [
            event_frame("thread.run.step.created", step),
            event_frame("thread.run.step.in_progress", step),
            event_frame("thread.message.created", message),
            event_frame("thread.message.in_progress", message),
        ]

    def add(self, chunk: dict[str, Any]) -> list[bytes]:
        """Take in one `chat.completion.chunk`; returns the delta event for its text, if it has any."""
        frames = []
        for choice in chunk["choices"]:
            text = choice["delta"].get("content")
            if text:
                frames.append(self._delta_frame(text))
                self.text += text
            self.finish_reason = choice.get("finish_reason") or self.finish_reason
        return frames

    def complete(self, usage: Usage) -> None:
        """The answer is whole."""
        self.message.status = messages_pb2.MESSAGE_STATUS_COMPLETED
        self.message.completed_at.CopyFrom(now())
        self._write_content()
        self._end_step(runs_pb2.RUN_STEP_STATUS_COMPLETED, "completed_at", usage)

    def cut(self, reason: str, step_status: runs_pb2.RunStepStatus.ValueType, usage: Usage | None) -> None:
        """The answer ended early; what was said is kept. reason: OpenAI's, for the message."""
        self.message.status = messages_pb2.MESSAGE_STATUS_INCOMPLETE
        self.message.incomplete_at.CopyFrom(now())
        self.message.incomplete_reason = reason
        self._write_content()
        self._end_step(step_status, _STEP_ENDS[step_status], usage)

    def ended_frames(self) -> list[bytes]:
        """The events behind the last delta."""
        complete = self.message.status == messages_pb2.MESSAGE_STATUS_COMPLETED
        step_status = runs_pb2.RunStepStatus.Name(self.step.status).removeprefix("RUN_STEP_STATUS_").lower()
        return [
            event_frame(
                f"thread.message.{'completed' if complete else 'incomplete'}", message_from_proto(self.message)
            ),
            event_frame(f"thread.run.step.{step_status}", step_from_proto(self.step)),
        ]

    def _delta_frame(self, text: str) -> bytes:
        # `annotations` stands in the first delta only: helpers add what they are given.
        body: dict[str, Any] = {"value": text} if self.text else {"value": text, "annotations": []}
        return event_frame(
            "thread.message.delta",
            {
                "id": self.message.id,
                "object": "thread.message.delta",
                "delta": {"content": [{"index": 0, "type": "text", "text": body}]},
            },
        )

    def _write_content(self) -> None:
        self.message.content_json = to_text([{"type": "text", "text": {"value": self.text, "annotations": []}}])

    def _end_step(self, status: runs_pb2.RunStepStatus.ValueType, field: str, usage: Usage | None) -> None:
        self.step.status = status
        getattr(self.step, field).CopyFrom(now())
        if usage is not None:
            self.step.usage.CopyFrom(usage)


_STEP_ENDS = {
    runs_pb2.RUN_STEP_STATUS_COMPLETED: "completed_at",
    runs_pb2.RUN_STEP_STATUS_CANCELLED: "cancelled_at",
    runs_pb2.RUN_STEP_STATUS_FAILED: "failed_at",
    runs_pb2.RUN_STEP_STATUS_EXPIRED: "expired_at",
}


def now() -> Timestamp:
    """The present, to the millisecond, as Jan's files keep it."""
    stamp = Timestamp()
    stamp.FromMilliseconds(int(time.time() * 1000))
    return stamp

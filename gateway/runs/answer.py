"""The answer that a run is writing: its step and message records and the events that tell of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from gateway.convert.json_fields import to_text
from gateway.convert.messages import message_from_proto
from gateway.convert.runs import step_from_proto
from gateway.runs import derived_ids
from gateway.runs.log import event_frame
from gateway.runs.messages import new_message
from gateway.runs.states import is_response
from gateway.runs.steps import end_step, new_step, now, step_frame
from gateway.vector_stores.excerpts import Excerpt, citations
from jan.storage.v1 import messages_pb2, runs_pb2
from jan.type.v1.usage_pb2 import Usage


class Answer:
    """One message in the making, a step of a run's present round."""

    def __init__(self, run: runs_pb2.Run, sources: Sequence[Excerpt] = (), *, place: int = 0) -> None:
        """sources: what the model was told of files, in the order of the numbers that it cites.

        place: that among the round's messages; only a response has several.
        """
        self.text = ""
        self._is_told = False
        self._sources = sources
        self._cited = 0
        in_thread = run.thread_id if is_response(run) else ""
        message_id = derived_ids.message_id(run.id, run.round, place, in_thread)
        self.step = new_step(
            run,
            derived_ids.step_id(run.id, run.round, place),
            runs_pb2.RUN_STEP_TYPE_MESSAGE_CREATION,
            {"type": "message_creation", "message_creation": {"message_id": str(message_id)}},
        )
        self.message = new_message(run, message_id, messages_pb2.MESSAGE_STATUS_IN_PROGRESS)
        self.message.created_at.CopyFrom(self.step.created_at)

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

    def add(self, text: str) -> list[bytes]:
        """Take in a piece of text, if it is one; returns the event that tells of it."""
        frames = [self._delta_frame(text)] if text else []
        self.text += text
        return frames

    def complete(self, usage: Usage | None) -> None:
        """The answer is whole; nothing happens when it was."""
        if self.message.status == messages_pb2.MESSAGE_STATUS_COMPLETED:
            return
        self.message.status = messages_pb2.MESSAGE_STATUS_COMPLETED
        self.message.completed_at.CopyFrom(now())
        self._write_content()
        end_step(self.step, runs_pb2.RUN_STEP_STATUS_COMPLETED, usage)

    def cut(self, reason: str, step_status: runs_pb2.RunStepStatus.ValueType, usage: Usage | None) -> None:
        """The answer ended early; what was said is kept. reason: OpenAI's, for the message."""
        self.message.status = messages_pb2.MESSAGE_STATUS_INCOMPLETE
        self.message.incomplete_at.CopyFrom(now())
        self.message.incomplete_reason = reason
        self._write_content()
        end_step(self.step, step_status, usage)

    def ended_frames(self) -> list[bytes]:
        """The events behind the last delta, once."""
        if self._is_told:
            return []
        self._is_told = True
        complete = self.message.status == messages_pb2.MESSAGE_STATUS_COMPLETED
        return [
            event_frame(
                f"thread.message.{'completed' if complete else 'incomplete'}", message_from_proto(self.message)
            ),
            step_frame(self.step),
        ]

    def _delta_frame(self, text: str) -> bytes:
        # Helpers add what they are given, so each annotation is told once; the first delta begins their list.
        body: dict[str, Any] = {"value": text}
        cited = citations(self.text + text, self._sources, behind=len(self.text)) if self._sources else []
        if cited or not self.text:
            body["annotations"] = [{"index": index, **each} for index, each in enumerate(cited, self._cited)]
        self._cited += len(cited)
        return event_frame(
            "thread.message.delta",
            {
                "id": self.message.id,
                "object": "thread.message.delta",
                "delta": {"content": [{"index": 0, "type": "text", "text": body}]},
            },
        )

    def _write_content(self) -> None:
        said = {"value": self.text, "annotations": citations(self.text, self._sources)}
        self.message.content_json = to_text([{"type": "text", "text": said}])

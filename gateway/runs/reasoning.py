"""What a response's model thinks: a message of its own in the thread, where it was thought, as Jan keeps thoughts.

Runs of the Assistants API have no word for it, so there it is neither kept nor told.
"""

from __future__ import annotations

from gateway.convert.items import thought_part
from gateway.convert.json_fields import to_text
from gateway.runs import derived_ids
from gateway.runs.log import event_frame
from gateway.runs.steps import now
from jan.storage.v1 import messages_pb2, runs_pb2

EVENT = "response.reasoning"
"""The name of its event in a run's log, which no client is told."""


class Reasoning:
    """Thoughts of a run's present round."""

    def __init__(self, run: runs_pb2.Run, *, place: int) -> None:
        """place: that among the round's thoughts; what was said or called lies between them."""
        self._text = ""
        self.message = messages_pb2.Message(
            id=derived_ids.reasoning_item_id(run.id, run.round, place, run.thread_id),
            thread_id=run.thread_id,
            run_id=run.id,
            assistant_id=run.assistant_id,
            role=messages_pb2.MESSAGE_ROLE_ASSISTANT,
            status=messages_pb2.MESSAGE_STATUS_COMPLETED,
            created_at=now(),
            metadata_json="{}",
        )

    def add(self, text: str) -> bytes:
        """Take in a piece; answers the event that tells of it."""
        self._text += text
        self.message.content_json = to_text([thought_part(self._text)])
        return event_frame(EVENT, {"text": text})

    def cut(self) -> None:
        """The round ended before the model did."""
        self.message.status = messages_pb2.MESSAGE_STATUS_INCOMPLETE

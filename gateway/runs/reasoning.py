"""What a response's model thinks: a message of its own in the thread, where it was thought, as Jan keeps thoughts.

Runs of the Assistants API have no word for it, so there it is neither kept nor told.
"""

from __future__ import annotations

from gateway.convert.items import thought_part
from gateway.convert.json_fields import to_text
from gateway.runs import derived_ids
from gateway.runs.log import event_frame
from gateway.runs.messages import new_message
from gateway.runs.steps import now
from jan.storage.v1 import messages_pb2, runs_pb2

EVENT = "response.reasoning"
"""The name of its event in a run's log, which no client is told."""


class Reasoning:
    """Thoughts of a run's present round."""

    def __init__(self, run: runs_pb2.Run, *, place: int) -> None:
        """place: that among the round's thoughts; what was said or called lies between them."""
        self._text = ""
        item_id = derived_ids.reasoning_item_id(run.id, run.round, place, run.thread_id)
        self.message = new_message(run, item_id, messages_pb2.MESSAGE_STATUS_COMPLETED)
        self.message.created_at.CopyFrom(now())

    def add(self, text: str) -> bytes:
        """Take in a piece; answers the event that tells of it."""
        self._text += text
        self.message.content_json = to_text([thought_part(self._text)])
        return event_frame(EVENT, {"text": text})

    def cut(self) -> None:
        """The round ended before the model did."""
        self.message.status = messages_pb2.MESSAGE_STATUS_INCOMPLETE

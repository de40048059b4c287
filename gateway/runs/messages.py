"""What the messages of a run have in common, be they words, thoughts, calls or a search."""

from __future__ import annotations

from jan.storage.v1 import messages_pb2, runs_pb2


def new_message(
    run: runs_pb2.Run, message_id: str, status: messages_pb2.MessageStatus.ValueType
) -> messages_pb2.Message:
    """A message that a run leaves in its thread, without content and time yet."""
    return messages_pb2.Message(
        id=message_id,
        thread_id=run.thread_id,
        run_id=run.id,
        assistant_id=run.assistant_id,
        role=messages_pb2.MESSAGE_ROLE_ASSISTANT,
        status=status,
        content_json="[]",
        metadata_json="{}",
    )

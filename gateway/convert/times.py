"""Times on the wire are protobuf timestamps; on OpenAI's API they are whole Unix seconds."""

from __future__ import annotations

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp


def seconds(time: Timestamp) -> int:
    """The time in whole seconds."""
    return time.seconds


def optional_seconds(message: Message, field: str) -> int | None:
    """The time in a message's field in whole seconds; None when it is absent."""
    return int(getattr(message, field).seconds) if message.HasField(field) else None

from __future__ import annotations

from google.protobuf.timestamp_pb2 import Timestamp

from gateway.convert.times import optional_seconds, seconds
from jan.storage.v1 import messages_pb2


def test_milliseconds_are_cut_off() -> None:
    assert seconds(Timestamp(seconds=1_700_000_000, nanos=999_000_000)) == 1_700_000_000


def test_an_absent_time_is_none() -> None:
    message = messages_pb2.Message(completed_at=Timestamp(seconds=5))
    assert optional_seconds(message, "completed_at") == 5
    assert optional_seconds(message, "incomplete_at") is None

"""A run's event log: what its streams show, as ready server-sent events."""

from __future__ import annotations

from typing import Any

import orjson

from gateway.http.errors import jan_error_body
from gateway.http.sse import frame
from jan.errors import JanError
from jan.queue.log import LogWriter

DONE = frame(b"[DONE]", event="done")

# How long a run is silent before its record is looked at: its gateway may have died between that of its end and the
# event. A client that gives up after half a minute has heard of it by then.
SILENCE_SECONDS = 4.0


def event_frame(name: str, value: dict[str, Any]) -> bytes:
    """One of OpenAI's Assistants events: a name and the bare object."""
    return frame(orjson.dumps(value), event=name)


def error_frame(error: JanError) -> bytes:
    """The event for a stream that cannot go on, with OpenAI's error object itself as its data."""
    return event_frame("error", orjson.loads(jan_error_body(error))["error"])


class RunLog:
    """Emits a run's events, each once however often the run is executed.

    Up to its end an execution says the same events in the same order, because they follow from the job's own log. So
    a repeated execution, here or on another gateway, skips as many as stand in the log already. Ends may differ (the
    model may be gone by then), so an end is never skipped: it is written once, together with `done`.
    """

    def __init__(self, writer: LogWriter) -> None:
        self._writer = writer
        self._to_skip = writer.published

    async def emit(self, *frames: bytes) -> None:
        """Append events that are not in the log yet. Raises LeaseLostError, redis.RedisError."""
        skipped = min(self._to_skip, len(frames))
        self._to_skip -= skipped
        if skipped < len(frames):
            await self._writer.publish(frames[skipped:])

    async def close(self, *frames: bytes) -> None:
        """Append the run's end and `done`, and give the lease back. Raises as `emit` does."""
        await self._writer.publish([*frames, DONE], ends=True)

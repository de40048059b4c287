"""Who hears what a job of a batch says, and has the body of its answer at last."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import orjson

from gateway.anthropic.asked import AskedMessage
from gateway.responses.as_chat import UnstoredAnswer
from jan.inference.v1 import jobs_pb2


class Hearing(Protocol):
    """One answer."""

    def hear(self, event: jobs_pb2.JobEvent) -> bool:
        """Take in an event that is no failure; whether that is enough, so that the job may be left."""

    async def whole(self) -> bytes:
        """The body of the answer, once all was heard."""


class AnswerAsSaid:
    """An answer that the engine gives whole."""

    def __init__(self) -> None:
        """Nothing was said yet."""
        self._said = b""

    def hear(self, event: jobs_pb2.JobEvent) -> bool:
        """See `Hearing`."""
        self._said += event.chunk.data
        return False

    async def whole(self) -> bytes:
        """See `Hearing`."""
        return self._said


@dataclass(frozen=True, slots=True)
class AnswerAsResponse:
    """A response that nothing is kept of."""

    answer: UnstoredAnswer

    def hear(self, event: jobs_pb2.JobEvent) -> bool:
        """See `Hearing`."""
        self.answer.hear(event)
        return False

    async def whole(self) -> bytes:
        """See `Hearing`."""
        return orjson.dumps(self.answer.whole)


@dataclass(frozen=True, slots=True)
class AnswerAsMessage:
    """A message of Anthropic's, which may end at a stop sequence."""

    asked: AskedMessage

    def hear(self, event: jobs_pb2.JobEvent) -> bool:
        """See `Hearing`."""
        self.asked.answer.hear(event)
        return self.asked.answer.found_stop

    async def whole(self) -> bytes:
        """See `Hearing`."""
        await self.asked.end()
        return orjson.dumps(self.asked.answer.whole())

"""What a job says of itself, as the events of its log: chunks of its answer, and one end."""

from __future__ import annotations

from collections.abc import Sequence

from inference_service.answers.shapes import Usage
from jan.inference.v1 import jobs_pb2
from jan.queue.publisher import PublishedLog
from jan.type.v1.error_pb2 import ErrorDetail
from jan.type.v1.usage_pb2 import CompletionTokensDetails
from jan.type.v1.usage_pb2 import Usage as UsageProto


class Telling:
    """Tells one job's answer. Once an end was told, no other may be."""

    def __init__(self, log: PublishedLog, prompt_tokens: int, published: int) -> None:
        """`log` is the job's, open under its lease, with `published` events of earlier attempts."""
        self._log = log
        self._prompt_tokens = prompt_tokens
        self._heard_tokens = published
        self._was_asked = bool(published)
        self.is_ending = False
        """Whether the end is on its way: unless the lease is lost it will stand in the log, and be the only one."""

    @property
    def spent_tokens(self) -> int:
        """What was used so far: the prompt and what the engine said of it, if one was asked."""
        used = self._used()
        return used.prompt_tokens + used.completion_tokens

    def asked(self) -> None:
        """An engine works on it from here on, which its tenant is charged for however it ends."""
        self._was_asked = True

    def heard(self, events: int) -> None:
        """The engine said so much: about a token in each event, told or kept for a whole answer."""
        self._heard_tokens += events

    async def say(self, chunks: Sequence[bytes]) -> None:
        """Tell more of the answer. Raises LeaseLostError."""
        await self._log.say(list(map(_chunk_event, chunks)))

    async def complete(self, chunks: Sequence[bytes], finish_reason: str, usage: Usage) -> None:
        """Tell the rest of the answer and its end in one go. Raises LeaseLostError."""
        cost = UsageProto(
            prompt_tokens=usage.prompt_tokens,
            completion_tokens=usage.completion_tokens,
            cached_tokens=usage.cached_tokens or 0,
            completion_tokens_details=CompletionTokensDetails(**usage.details) if usage.details else None,
        )
        completed = jobs_pb2.JobEvent(completed=jobs_pb2.Completed(finish_reason=finish_reason, usage=cost))
        spent_tokens = usage.prompt_tokens + usage.completion_tokens or None
        await self._end([*map(_chunk_event, chunks), completed.SerializeToString()], spent_tokens, is_whole=True)

    async def fail(self, detail: ErrorDetail) -> None:
        """End with an error. Raises LeaseLostError."""
        await self._break_off(jobs_pb2.JobEvent(failed=jobs_pb2.Failed(error=detail, usage=self._used())))

    async def cancelled(self) -> None:
        """End because somebody asked for it. Raises LeaseLostError."""
        await self._break_off(jobs_pb2.JobEvent(cancelled=jobs_pb2.Cancelled(usage=self._used())))

    async def rest(self) -> None:
        """Return when all that was told stands in the log. Raises LeaseLostError."""
        await self._log.flush()

    def close(self) -> None:
        """Tell nothing more."""
        self._log.close()

    def _used(self) -> UsageProto:
        """What was used of an answer that is broken off: its tenant is charged for it, and its client told."""
        if not self._was_asked:
            return UsageProto()
        return UsageProto(prompt_tokens=self._prompt_tokens, completion_tokens=self._heard_tokens)

    async def _break_off(self, event: jobs_pb2.JobEvent) -> None:
        await self._end([event.SerializeToString()], self.spent_tokens, is_whole=False)

    async def _end(self, events: list[bytes], spent_tokens: int | None, *, is_whole: bool) -> None:
        if self.is_ending:
            await self._log.flush()
            return
        self.is_ending = True
        await self._log.end(events, spent_tokens=spent_tokens, is_whole=is_whole)


def _chunk_event(data: bytes) -> bytes:
    event = jobs_pb2.JobEvent()
    event.chunk.data = data
    return event.SerializeToString()

"""What a run's model says in one round: a message, calls of functions, or both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gateway.runs.answer import Answer
from gateway.runs.calls import Calls
from gateway.runs.file_search import Result
from gateway.runs.reasoning import Reasoning
from gateway.runs.states import is_response
from gateway.runs.steps import StepStatus
from gateway.services.storage import StorageClient
from jan.storage.v1 import runs_pb2
from jan.type.v1.usage_pb2 import Usage


class Turn:
    """Builds the records of a round from its job's chunks; each step is stored before its first event is told."""

    def __init__(
        self, storage: StorageClient, run: runs_pb2.Run, *, may_call: bool, sources: Sequence[Result] = ()
    ) -> None:
        """may_call: the model has tools, so white space may be all that stands in front of a call.

        sources: see `Answer`.
        """
        self._sources = sources
        self._storage = storage
        self._run = run
        self._may_call = may_call
        self._blank = ""
        self.answer: Answer | None = None
        self.calls: Calls | None = None
        self._reasoning: Reasoning | None = None
        self.finish_reason = ""

    async def take_in(self, chunk: dict[str, Any]) -> list[bytes]:
        """Take in one `chat.completion.chunk`; returns the events that tell of it."""
        frames: list[bytes] = []
        for choice in chunk["choices"]:
            delta = choice["delta"]
            frames += self._think(delta.get("reasoning_content") or "")
            frames += await self._say(delta.get("content") or "")
            for call in delta.get("tool_calls") or ():
                frames += await self._call(call)
            self.finish_reason = choice.get("finish_reason") or self.finish_reason
        return frames

    async def end(self) -> list[bytes]:
        """The model has nothing more to say. One that said nothing wrote an empty message."""
        if self.calls is not None or self.answer is not None:
            return []
        frames = await self._begin_answer()
        return frames + self._answer_of().add(self._blank)

    def complete(self, usage: Usage) -> None:
        """What was said is whole, and so are a response's calls."""
        if self.answer is not None:
            self.answer.complete(None if self.calls else usage)
        if self.calls is not None:
            self.calls.complete(usage)

    def fail(self, error: runs_pb2.RunError) -> None:
        """The round broke; what was said and called is kept, and its steps say why."""
        self.cut("run_failed", runs_pb2.RUN_STEP_STATUS_FAILED, None)
        for part in (self.answer, self.calls):
            if part is not None:
                part.step.last_error.CopyFrom(error)

    def cut(self, reason: str, status: StepStatus, usage: Usage | None) -> None:
        """The round ended early; what was said and called is kept. reason: OpenAI's, for the message."""
        if self._reasoning is not None and self.answer is None and self.calls is None:
            self._reasoning.cut()
        if self.answer is not None:
            self.answer.cut(reason, status, None if self.calls else usage)
        if self.calls is not None:
            # A call that nobody will answer is never completed.
            completed = status == runs_pb2.RUN_STEP_STATUS_COMPLETED
            self.calls.cut(runs_pb2.RUN_STEP_STATUS_CANCELLED if completed else status, usage)

    async def store(self) -> list[bytes]:
        """Store what has ended; returns the events that tell of it."""
        if self._reasoning is not None:
            await self._storage.create_message(self._reasoning.message)
        frames = await self.store_message()
        if self.calls is not None:
            await self._storage.put_run_step(self.calls.step)
            for item in self.calls.items() if is_response(self._run) else ():
                await self._storage.create_message(item)
            frames += self.calls.ended_frames()
        return frames

    async def store_message(self) -> list[bytes]:
        """Store the message, if there is one, and its step."""
        if self.answer is None:
            return []
        self.answer.message.CopyFrom(await self._storage.create_message(self.answer.message))
        await self._storage.put_run_step(self.answer.step)
        return self.answer.ended_frames()

    def _think(self, text: str) -> list[bytes]:
        if not text or not is_response(self._run) or self.answer is not None or self.calls is not None:
            return []
        self._reasoning = self._reasoning or Reasoning(self._run)
        return [self._reasoning.add(text)]

    async def _say(self, text: str) -> list[bytes]:
        if not text:
            return []
        if self.answer is not None:
            return self.answer.add(text)
        text = self._blank + text
        if self._may_call and text.isspace():
            self._blank = text
            return []
        frames = await self._begin_answer()
        return frames + self._answer_of().add(text)

    async def _call(self, delta: dict[str, Any]) -> list[bytes]:
        frames: list[bytes] = []
        if self.calls is None:
            self.calls = Calls(self._run)
            stored = await self._storage.put_run_step(self.calls.step)
            self.calls.begun_at(stored.created_at)
            frames = self.calls.begun_frames()
        return frames + self.calls.add(delta)

    async def _begin_answer(self) -> list[bytes]:
        self.answer = Answer(self._run, self._sources)
        stored = await self._storage.put_run_step(self.answer.step)
        self.answer.begun_at(stored.created_at)
        return self.answer.begun_frames()

    def _answer_of(self) -> Answer:
        assert self.answer is not None
        return self.answer

"""What a run's model says in one round: a message, calls of functions, or both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gateway.runs.answer import Answer
from gateway.runs.calls import Calls
from gateway.runs.reasoning import Reasoning
from gateway.runs.states import is_response
from gateway.runs.steps import StepStatus
from gateway.services.storage import StorageClient
from gateway.vector_stores.excerpts import Excerpt
from jan.storage.v1 import runs_pb2
from jan.type.v1.usage_pb2 import Usage

Part = Answer | Reasoning | int
"""What a model began: words, thoughts, or the call with that place."""


class Turn:
    """Builds the records of a round from its job's chunks; each step is stored before its first event is told.

    A run of the Assistants API is one message, or calls, or both. A response is what the model began, in that order:
    thoughts, messages and calls, any of them several times.
    """

    def __init__(
        self, storage: StorageClient, run: runs_pb2.Run, *, may_call: bool, sources: Sequence[Excerpt] = ()
    ) -> None:
        """may_call: the model has tools, so white space may be all that stands in front of a call.

        sources: see `Answer`.
        """
        self._sources = sources
        self._storage = storage
        self._run = run
        self._may_call = may_call
        self._blank = ""
        self._is_response = is_response(run)
        self._parts: list[Part] = []
        self._stored = 0
        self._said: Answer | Reasoning | None = None
        self.calls: Calls | None = None
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
        if self.calls is not None or self._answers:
            return []
        answer, frames = await self._begin_answer()
        return frames + answer.add(self._blank)

    def complete(self, usage: Usage) -> None:
        """What was said is whole, and so are a response's calls."""
        self.complete_answers(None if self.calls is not None else usage)
        if self.calls is not None:
            self.calls.complete(usage)

    def complete_answers(self, usage: Usage | None) -> None:
        """What was said is whole. usage: what the last message cost; None when the calls have it."""
        for answer in self._answers:
            answer.complete(usage if answer is self._answers[-1] else None)

    def fail(self, error: runs_pb2.RunError, usage: Usage | None = None) -> None:
        """The round broke; what was said and called is kept, and its steps say why. usage: see `cut`."""
        self.cut("run_failed", runs_pb2.RUN_STEP_STATUS_FAILED, usage)
        for part in (*self._answers, self.calls):
            if part is not None and part.step.status == runs_pb2.RUN_STEP_STATUS_FAILED:
                part.step.last_error.CopyFrom(error)

    def cut(self, reason: str, status: StepStatus, usage: Usage | None) -> None:
        """The round ended early; what was said and called is kept. reason: OpenAI's, for the message.

        usage: what the round cost; None when nobody knows.

        What a response's model began something else behind is whole.
        """
        last = self._parts[-1] if self._parts else None
        if isinstance(last, Reasoning):
            last.cut()
        for answer in self._answers:
            if answer is last or not self._is_response:
                answer.cut(reason, status, None if self.calls is not None else usage)
            else:
                answer.complete(None)
        if self.calls is not None:
            # A call that nobody will answer is never completed.
            completed = status == runs_pb2.RUN_STEP_STATUS_COMPLETED
            self.calls.cut(runs_pb2.RUN_STEP_STATUS_CANCELLED if completed else status, usage)

    async def store(self) -> list[bytes]:
        """Store what has ended; returns the events that tell of it."""
        frames = await self._store_parts()
        if self.calls is not None:
            await self._storage.put_run_step(self.calls.step)
            frames += self.calls.ended_frames()
        return frames

    async def store_message(self) -> list[bytes]:
        """Store the message, if there is one, and its step."""
        return [frame for answer in self._answers for frame in await self._store_answer(answer)]

    async def _store_parts(self) -> list[bytes]:
        """Store what was begun, in that order, each once."""
        frames: list[bytes] = []
        for part in self._parts[self._stored :]:
            match part:
                case Answer():
                    frames += await self._store_answer(part)
                case Reasoning():
                    await self._storage.create_message(part.message)
                case _:
                    await self._store_call(part)
            self._stored += 1
        return frames

    @property
    def _answers(self) -> list[Answer]:
        return [part for part in self._parts if isinstance(part, Answer)]

    async def _store_answer(self, answer: Answer) -> list[bytes]:
        answer.message.CopyFrom(await self._storage.create_message(answer.message))
        await self._storage.put_run_step(answer.step)
        return answer.ended_frames()

    async def _store_call(self, place: int) -> None:
        if self._is_response and self.calls is not None:
            await self._storage.create_message(self.calls.item(place))

    def _think(self, text: str) -> list[bytes]:
        if not text or not self._is_response:
            return []
        if not isinstance(self._said, Reasoning):
            before = sum(isinstance(part, Reasoning) for part in self._parts)
            self._said = Reasoning(self._run, place=before)
            self._parts.append(self._said)
        return [self._said.add(text)]

    async def _say(self, text: str) -> list[bytes]:
        if not text:
            return []
        if isinstance(self._said, Answer):
            return self._said.add(text)
        text = self._blank + text
        if self._may_call and text.isspace():
            self._blank = text
            return []
        self._blank = ""
        answer, frames = await self._begin_answer()
        return frames + answer.add(text)

    async def _call(self, delta: dict[str, Any]) -> list[bytes]:
        frames: list[bytes] = []
        if self.calls is None:
            self.calls = Calls(self._run)
            stored = await self._storage.put_run_step(self.calls.step)
            self.calls.begun_at(stored.created_at)
            frames = self.calls.begun_frames()
        before = self.calls.count
        frames += self.calls.add(delta)
        if self.calls.count > before:
            self._parts.append(before)
            if self._is_response:
                self._said = None
        return frames

    async def _complete_message(self) -> list[bytes]:
        """The message in front is whole when another one begins: clients hear of one at a time.

        It is stored before that is told, unless a call stands in front of it: calls may go on until the end, and items
        are stored in their order.
        """
        if not self._answers:
            return []
        self._answers[-1].complete(None)
        return self._answers[-1].ended_frames() if self.calls is not None else await self._store_parts()

    async def _begin_answer(self) -> tuple[Answer, list[bytes]]:
        frames = await self._complete_message()
        answer = Answer(self._run, self._sources, place=len(self._answers))
        self._said = answer
        self._parts.append(answer)
        stored = await self._storage.put_run_step(answer.step)
        answer.begun_at(stored.created_at)
        return answer, frames + answer.begun_frames()

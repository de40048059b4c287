"""A message that was asked for: the job that answers it, and what is heard of that."""

from __future__ import annotations

from dataclasses import dataclass

import orjson

from gateway.anthropic.answer import MessageAnswer, Wishes
from gateway.anthropic.documents import Documents
from gateway.anthropic.request import message_job, part_of_the_prompt, watches_stops
from gateway.images.shown import Images
from gateway.queueing.priority import Priority
from gateway.schemas.anthropic_messages import MessagesRequest
from gateway.services.inference import InferenceClient
from jan.errors import JanError
from jan.inference.v1 import control_pb2, jobs_pb2
from jan.storage.v1 import models_pb2
from jan.telemetry import get_logger
from jan.type.v1.usage_pb2 import Usage

logger = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Counter:
    """Counts what an answer cost whose job was left at a stop sequence: its end would have told."""

    inference: InferenceClient
    job: jobs_pb2.Job

    async def count(self, text: str) -> Usage:
        """The tokens of the prompt and of what was written; none where no host can count them now."""
        chat = orjson.dumps(part_of_the_prompt(orjson.loads(self.job.body))).decode()
        try:
            prompt = await self._length(control_pb2.TokenizeRequest(chat_json=chat))
            begun, written = [await self._length_of(one) for one in (self.job.prefill, text)]
        except JanError as error:
            logger.warning("tokens not counted", model=self.job.model.id, error=str(error))
            return Usage()
        return Usage(prompt_tokens=prompt + begun, completion_tokens=written)

    async def _length_of(self, text: str) -> int:
        return await self._length(control_pb2.TokenizeRequest(text=text, add_special=False)) if text else 0

    async def _length(self, question: control_pb2.TokenizeRequest) -> int:
        question.model.CopyFrom(self.job.model)
        return len((await self.inference.tokenize(question)).tokens)


@dataclass(frozen=True, slots=True)
class AskedMessage:
    """One message on its way."""

    job: jobs_pb2.Job
    answer: MessageAnswer
    counter: Counter

    @classmethod
    async def of(
        cls,
        documents: Documents,
        images: Images,
        inference: InferenceClient,
        request: MessagesRequest,
        model: models_pb2.Model,
        *,
        tenant: str,
        priority: Priority,
    ) -> AskedMessage:
        """The message that a request asks for, its documents read and its images shown.

        Raises InvalidArgumentError, PermissionDeniedError: a document or an image of it cannot be.
        """
        request = request.model_copy(update={"messages": await documents.read(request.messages)})
        job = await message_job(images, request, model, tenant, priority)
        wishes = Wishes(
            model=model.id,
            max_tokens=request.max_tokens,
            stops=(request.stop_sequences or ()) if watches_stops(model) else (),
            tells_thoughts=request.thinking is None or request.thinking.is_told,
            tier="batch" if priority == jobs_pb2.PRIORITY_BATCH else "standard",
        )
        return cls(job, MessageAnswer(job.response_id, wishes), Counter(inference, job))

    async def end(self) -> bytes:
        """See that the answer has its end, be it at a stop sequence; the events of that."""
        return b"" if self.answer.is_over else self.answer.end(await self.counter.count(self.answer.heard))

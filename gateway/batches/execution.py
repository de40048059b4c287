"""The execution of one batch, from wherever it stands to its end.

May be repeated from the start at any time, here or on another gateway: what is done stands in storage by the line of
the input, and a request's job is submitted once by its id, which follows from the batch and the line.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, suppress

import orjson
from redis.exceptions import RedisError

from gateway.anthropic.asked import AskedMessage
from gateway.anthropic.batch_results import MessageResults
from gateway.batches.client import BatchClient
from gateway.batches.hearing import AnswerAsMessage, AnswerAsResponse, AnswerAsSaid, Hearing
from gateway.batches.lines import Line, read_lines
from gateway.batches.requests import (
    MESSAGES,
    RESPONSES,
    BatchRequest,
    job_of,
    read_request,
    refuse_in_batches,
)
from gateway.batches.responses import BatchResponses, ResponseParts, read_response
from gateway.batches.results import OpenAIResults, Recorder, Results, Unanswered
from gateway.batches.validation import examine
from gateway.http.body import validate
from gateway.models.lookup import find_model
from gateway.queueing.failures import failure_of
from gateway.responses.removal import about_input
from gateway.schemas.anthropic_messages import MessagesRequest
from gateway.schemas.common import JsonObject
from jan.backoff import Backoff
from jan.errors import (
    DeadlineExceededError,
    FailedPreconditionError,
    InternalError,
    InvalidArgumentError,
    JanError,
    NotFoundError,
    ResourceExhaustedError,
    UnavailableError,
)
from jan.ids import JobId, RequestId
from jan.inference.v1 import jobs_pb2
from jan.storage.v1 import batches_pb2
from jan.tasks import end, first_error
from jan.telemetry import get_logger, request_id_var

logger = get_logger(__name__)

# Requests of one batch that are in the queue or in an engine at a time: enough to fill the engines of a host.
AT_A_TIME = 64
# An engine that cannot be started, or that is full, may be able a little later.
_TRIES = 3
_PASSES = (UnavailableError, ResourceExhaustedError)
_TOGETHER = 500
_DIGITS = 24  # of an answer's id


class BatchExecution:
    """Executes one batch under a lease that the caller renews."""

    def __init__(self, parts: ResponseParts, client: BatchClient, batch: batches_pb2.Batch, deadline: float) -> None:
        """`deadline`: when the batch expires, by `time.monotonic`."""
        self._parts = parts
        self._storage = parts.storage
        self._client = client
        self._jobs = parts.jobs
        self._responses = BatchResponses(parts, batch.id, batch.tenant)
        self._batch = batch
        self._deadline = deadline
        self._recorder = Recorder(client, batch.id)
        self._results: Results = MessageResults() if batch.endpoint == MESSAGES else OpenAIResults()
        self._in_hand: set[str] = set()
        self._answering: set[asyncio.Task[None]] = set()
        self._stop = asyncio.Event()

    def stop(self) -> None:
        """Somebody wants the batch to stop, and storage knows it."""
        self._stop.set()

    async def execute(self) -> None:
        """Work until the batch has come to its end. Raises JanError: execute it again."""
        while True:
            self._batch = await self._client.get(self._batch.id)
            match self._batch.status:
                case batches_pb2.BATCH_STATUS_VALIDATING:
                    await self._validate()
                case batches_pb2.BATCH_STATUS_IN_PROGRESS:
                    await self._work()
                case batches_pb2.BATCH_STATUS_FINALIZING:
                    await self._move(batches_pb2.BATCH_STATUS_COMPLETED)
                case batches_pb2.BATCH_STATUS_CANCELLING:
                    await self._close(Unanswered.CANCELLED)
                    await self._move(batches_pb2.BATCH_STATUS_CANCELLED)
                case _:
                    return

    async def _validate(self) -> None:
        try:
            found = await examine(self._storage, self._batch.input_file_id, self._batch.endpoint)
        except NotFoundError:
            await self._fail(_input_gone())
            return
        if found.errors:
            await self._fail(*found.errors)
        else:
            await self._move(batches_pb2.BATCH_STATUS_IN_PROGRESS, total=found.total, model=found.model)

    async def _work(self) -> None:
        """Answer what is not answered yet, until that is done, the time is up, or somebody wants it to stop."""
        answering = asyncio.create_task(self._answer_all(), name=f"answers-{self._batch.id}")
        stopping = asyncio.create_task(self._until_stopped(), name=f"stop-{self._batch.id}")
        try:
            await asyncio.wait({answering, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            finished = answering.done()
            await end(answering, stopping, *self._answering)
        if finished:
            await self._end_answered(answering)
            return
        for job_id in list(self._in_hand):
            await self._jobs.cancel(job_id)
        self._in_hand.clear()
        if not self._stop.is_set():
            await self._close(Unanswered.EXPIRED)
            await self._move(batches_pb2.BATCH_STATUS_EXPIRED)

    async def _end_answered(self, answering: asyncio.Task[None]) -> None:
        try:
            answering.result()
        except NotFoundError:
            await self._fail(_input_gone())
        else:
            await self._move(batches_pb2.BATCH_STATUS_FINALIZING)

    async def _until_stopped(self) -> None:
        try:
            async with asyncio.timeout(self._deadline - time.monotonic()):
                await self._stop.wait()
        except TimeoutError:
            return

    async def _answer_all(self) -> None:
        """Raises NotFoundError: the input is gone. Raises JanError, RedisError, OSError: execute the batch again."""
        done = set(await self._client.done(self._batch.id))
        room = asyncio.Semaphore(AT_A_TIME)
        try:
            async with asyncio.TaskGroup() as group, aclosing(self._lines()) as lines:
                async for line in lines:
                    if line.number in done:
                        continue
                    await room.acquire()
                    task = group.create_task(self._answer(line), name=f"{self._batch.id}.{line.number}")
                    self._answering.add(task)
                    task.add_done_callback(self._answering.discard)
                    task.add_done_callback(lambda _: room.release())
        except ExceptionGroup as group_error:
            raise first_error(group_error) from group_error

    async def _answer(self, line: Line) -> None:
        """See that one request has its result."""
        request = read_request(line.data, self._batch.endpoint)
        request_id = RequestId.new()
        request_id_var.set(request_id)
        backoff = Backoff(first_seconds=1.0, most_seconds=30.0)
        tries = 0
        while True:
            tries += 1
            answer = await self._ask_safely(line.number, tries, request)
            if isinstance(answer, _PASSES) and answer.code != "cancelled" and tries < _TRIES:
                await backoff.wait()
                continue
            break
        if isinstance(answer, JanError):
            result = self._results.refused(line.number, request.custom_id, request_id, answer)
        else:
            result = self._results.answered(line.number, request.custom_id, request_id, answer)
        await self._recorder.keep(result)

    async def _ask_safely(self, line: int, tries: int, request: BatchRequest) -> bytes | JanError:
        """As `_ask`. A mistake of ours is the answer to this one request, and holds up no other one of the batch."""
        try:
            return await self._ask(line, tries, request)
        except (JanError, RedisError, OSError):
            raise
        except Exception:
            logger.exception("request of a batch failed", batch=self._batch.id, line=line)
            return InternalError("The server had an error while processing your request.")

    async def _ask(self, line: int, tries: int, request: BatchRequest) -> bytes | JanError:
        """The answer to a request, or why there is none. Raises JanError: nothing is known; execute it again."""
        job_id = JobId(f"{self._batch.id}.{line}.{tries}")
        places: list[str] = []
        try:
            if self._batch.endpoint == RESPONSES:
                asked = read_response(request.body)
                if asked.store is not False:
                    return await self._responses.answer(line, asked, self._deadline - time.monotonic())
                job, response = await self._responses.job_of(job_id, asked)
                hearing: Hearing = AnswerAsResponse(response)
                places = asked.callable_places
            elif self._batch.endpoint == MESSAGES:
                message = await self._message(request.body)
                job, hearing = message.job, AnswerAsMessage(message)
            else:
                endpoint, tenant = self._batch.endpoint, self._batch.tenant
                job = await job_of(self._storage, self._parts.images, endpoint, request.body, tenant)
                hearing = AnswerAsSaid()
        except (*_PASSES, DeadlineExceededError):  # storage's
            raise
        except JanError as error:
            return error
        job.id = job_id
        if job.response_id:
            job.response_id = _response_id(job)
        return await self._answer_of(job, hearing, places)

    async def _message(self, body: JsonObject) -> AskedMessage:
        """The message that a request asks for. Raises what its endpoint would answer with."""
        refuse_in_batches(body, "stream")
        asked = validate(body, MessagesRequest)
        asked.check_supported()
        return await AskedMessage.of(
            self._parts.documents,
            self._parts.images,
            self._parts.inference,
            asked,
            await find_model(self._storage, asked.model),
            tenant=self._batch.tenant,
            priority=jobs_pb2.PRIORITY_BATCH,
        )

    async def _answer_of(self, job: jobs_pb2.Job, hearing: Hearing, places: Sequence[str]) -> bytes | JanError:
        """What a job's engine says, as `hearing` tells it. A job that need not be heard to its end is stopped.

        places: where a response's request has its functions.
        """
        self._in_hand.add(job.id)
        async with self._jobs.followed(job.id) as events:
            await self._jobs.submit(job)
            async for batch in events.batches():
                for event in batch:
                    if (failure := failure_of(event)) is not None:
                        self._in_hand.discard(job.id)
                        return about_input(failure, places) if self._batch.endpoint == RESPONSES else failure
                    if hearing.hear(event):
                        await self._jobs.cancel(job.id)
                        self._in_hand.discard(job.id)
                        return await hearing.whole()
        self._in_hand.discard(job.id)
        return await hearing.whole()

    async def _close(self, why: Unanswered) -> None:
        """Give every request that has no result one that says so."""
        done = set(await self._client.done(self._batch.id))
        left: list[batches_pb2.BatchResult] = []
        with suppress(NotFoundError):  # nobody knows any more what was asked for
            async with aclosing(self._lines()) as lines:
                async for line in lines:
                    if line.number in done:
                        continue
                    left.append(await self._settled(line, why))
                    if len(left) >= _TOGETHER:
                        await self._recorder.keep(*left)
                        left.clear()
        if left:
            await self._recorder.keep(*left)

    async def _settled(self, line: Line, why: Unanswered) -> batches_pb2.BatchResult:
        """The result of a request that has none: a stored response may have been begun, or have ended."""
        request = read_request(line.data, self._batch.endpoint)
        if self._batch.endpoint == RESPONSES:
            with suppress(InvalidArgumentError):
                asked = read_response(request.body)
                if asked.store is not False and (answer := await self._responses.settle(line.number, asked)):
                    return self._results.answered(line.number, request.custom_id, RequestId.new(), answer)
        return self._results.not_executed(line.number, request.custom_id, why)

    async def _move(self, status: batches_pb2.BatchStatus.ValueType, *, total: int = 0, model: str = "") -> None:
        await self._request(batches_pb2.MoveBatchRequest(status=status, total=total, model=model))

    async def _fail(self, *errors: JsonObject) -> None:
        text = orjson.dumps(errors).decode()
        await self._request(batches_pb2.MoveBatchRequest(status=batches_pb2.BATCH_STATUS_FAILED, errors_json=text))

    async def _request(self, request: batches_pb2.MoveBatchRequest) -> None:
        """Move on, unless somebody moved the batch elsewhere meanwhile: then that is where it goes on from."""
        request.batch_id = self._batch.id
        with suppress(FailedPreconditionError):
            await self._client.move(request)

    def _lines(self) -> AsyncGenerator[Line, None]:
        return read_lines(self._storage, self._batch.input_file_id)


def _response_id(job: jobs_pb2.Job) -> str:
    """The answer's id, the same each time the job is made."""
    prefix = job.response_id.partition("-")[0]
    return f"{prefix}-{hashlib.sha256(job.id.encode()).hexdigest()[:_DIGITS]}"


def _input_gone() -> JsonObject:
    message = "The input file is not here any more."
    return {"code": "input_file_gone", "message": message, "param": "input_file_id", "line": None}

"""One job, from being taken to its last event: ask the engine, publish what it says, end it exactly once.

Delivery is at least once. What makes a second delivery harmless: every event is written through the lease, whose token
is refused as soon as somebody else holds the job (`jan.queue.log`), and a repeated write changes nothing.
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

import aiohttp
import orjson
from redis.exceptions import RedisError

from inference_service.answer_head import head_of
from inference_service.chunks import ChunkStream
from inference_service.completions import CompletionStream, CompletionWishes, WholeCompletion
from inference_service.context_check import check_fits, told_exactly
from inference_service.continuation import CHAT_FIELDS, ECHO, NOTHING, Begun, is_plain, text_of, without_echo
from inference_service.embeddings import EmbeddingList
from inference_service.engines import process
from inference_service.engines.client import ENGINE_UNREACHABLE
from inference_service.engines.errors import ENGINE_DEAD, EngineLostError, error_of
from inference_service.engines.purpose import check_purpose
from inference_service.forced_calls import Answer
from inference_service.job import Happening, JobState, next_state
from inference_service.model import RunningModel
from inference_service.models import Models
from inference_service.passing import may_be_elsewhere
from inference_service.shapes import AnswerWishes, Usage
from inference_service.sse import DONE, EventReader
from inference_service.tokens import TokenQuestion
from inference_service.whole import WholeAnswer, rewrite_whole
from jan.backoff import Backoff
from jan.errors import DeadlineExceededError, InternalError, InvalidArgumentError, JanError, UnavailableError
from jan.inference.v1 import jobs_pb2
from jan.queue.hosts import Hosts
from jan.queue.jobs import JobQueue, TakenJob
from jan.queue.leases import LeaseLostError
from jan.queue.log import LogWriter
from jan.telemetry import get_logger, request_id_var
from jan.type.v1.error_pb2 import ErrorDetail
from jan.type.v1.usage_pb2 import Usage as UsageProto

logger = get_logger(__name__)

T = TypeVar("T")

_CACHE_KEY = secrets.token_bytes(32)
_TOO_LONG = DeadlineExceededError("The answer took too long.", code="timeout")
_LOST = "The worker that wrote this answer was lost before its end; what was said so far is kept."


class Relay:
    """One taken job. `run` does the work; `interrupt` ends it early from outside."""

    def __init__(self, taken: TakenJob, queue: JobQueue, models: Models, writer: LogWriter, host: Hosts) -> None:
        """`writer` publishes under the job's lease. `host` is this one."""
        self.taken = taken
        self.state = JobState.TAKEN
        self._job = taken.job
        self._queue = queue
        self._models = models
        self._writer = writer
        self._host = host
        self.not_here: JanError | None = None
        """Why this host cannot serve it."""
        self._interruption: Happening | None = None
        self._answering: asyncio.Task[None] | None = None
        self._publishing = False
        self._continuable = False
        self._engine_died = False

    def interrupt(self, happening: Happening) -> None:
        """End the job because of something from outside; the first interruption counts.

        A write under way is not broken off: whether Redis has seen it would be unknown, and then only the same events
        may be written again (`jan.queue.log`), not the job's end.
        """
        if self._interruption is None:
            self._interruption = happening
            if self._answering is not None and not self._publishing:
                self._answering.cancel()

    def pass_on(self, why: JanError) -> None:
        """Give the job back for another host without trying."""
        self.not_here = why
        self.interrupt(Happening.NOT_HERE)

    async def run(self) -> JobState:
        """Do the job, then end or release it; returns the last state. Raises nothing but its own cancellation."""
        request_id_var.set(self._job.request_id)
        self._answering = asyncio.create_task(self._answer(), name=f"answer-{self._job.id}")
        if self._interruption is not None:
            self._answering.cancel()
        seconds = self._job.timeout.ToTimedelta().total_seconds() if self._job.HasField("timeout") else None
        try:
            in_time, _ = await asyncio.wait({self._answering}, timeout=seconds)
            if not in_time:
                self.interrupt(Happening.TIMED_OUT)
                await asyncio.wait({self._answering})
        finally:
            self._answering.cancel()
        happening, error = self._verdict(self._answering)
        self._happened(happening)
        await self._close(error)
        logger.info("job", job=self._job.id, model=self._job.model.id, state=str(self.state), after=str(happening))
        return self.state

    async def _answer(self) -> None:
        """Ask the model and publish its answer to the end, going on from what an earlier attempt has said."""
        check_purpose(self._job.model, self._job.endpoint)
        request = self._request()
        said = await self._said_before(request)
        async with self._models.use(self._job.model) as running:
            self._continuable = is_plain(request) and running.engine.continues("")
            self._happened(Happening.ASKED)
            try:
                await self._ask(running, request, said)
            except EngineLostError as lost:
                self._engine_died = await self._models.notice_crash(running, is_dead=lost.is_dead)
                raise
            running.succeeded()

    async def _said_before(self, request: Mapping[str, Any]) -> str:
        """The text that earlier attempts have published. Raises UnavailableError: nobody can go on from there."""
        if not self.taken.published:
            return ""
        events = await self._persist(partial(self._queue.said, self.taken))
        text = text_of(events) if events is not None and is_plain(request) else None
        said = without_echo(text, request) if text is not None else None
        if said is None:
            raise _worker_lost()
        return said

    async def _begun(self, running: RunningModel, said: str) -> Begun:
        """What was said as the engine counts it. Raises UnavailableError: it cannot go on from there."""
        if not said:
            return ECHO if self.taken.published else NOTHING
        is_chat = self._job.endpoint == jobs_pb2.ENDPOINT_CHAT_COMPLETIONS
        if not running.engine.continues(said if is_chat else ""):
            raise _worker_lost()
        tokens = await running.engine.tokenize(running.client, TokenQuestion(said, add_special=False))
        return Begun(said, len(tokens.ids))

    async def _ask(self, running: RunningModel, request: Mapping[str, Any], said: str) -> None:
        try:
            begun = await self._begun(running, said)
            match self._job.endpoint:
                case jobs_pb2.ENDPOINT_CHAT_COMPLETIONS:
                    await self._chat(running, request, begun)
                case jobs_pb2.ENDPOINT_COMPLETIONS:
                    await self._go_on(running, request, begun)
                case jobs_pb2.ENDPOINT_EMBEDDINGS:
                    await self._embed(running, request)
                case _:
                    raise InvalidArgumentError("This server does not know the job's endpoint.")
        except aiohttp.ClientError as error:
            raise EngineLostError(f"The engine broke off: {error}") from error
        except JanError as error:
            if (is_dead := error.code == ENGINE_DEAD) or error.code == ENGINE_UNREACHABLE:
                raise EngineLostError(f"{error.message} {error.__cause__}", is_dead=is_dead) from error
            if said:  # the request was good once: it is our way of going on that is refused
                raise _worker_lost() from error
            raise

    async def _chat(self, running: RunningModel, request: Mapping[str, Any], begun: Begun) -> None:
        call = running.engine.chat_call(begun.request(request))
        head = head_of(self._job)
        wishes = AnswerWishes.of(request)
        await self._check_fits(running, call.body, request)
        async with told_exactly(running, call.body), running.client.chat(call.body) as content:
            if call.streams:
                if self._job.stream:
                    answer: Answer = ChunkStream(head, wishes, begun=bool(self.taken.published))
                else:
                    answer = WholeAnswer(head, wishes)
                await self._relay(content, begun.read_by(call.read_by(answer), request))
            else:
                data, finish_reason, usage = rewrite_whole(orjson.loads(await content.read()), head, wishes)
                await self._complete([data], finish_reason, usage)

    async def _go_on(self, running: RunningModel, request: Mapping[str, Any], begun: Begun) -> None:
        call = running.engine.completion_call(begun.request(request))
        head = head_of(self._job)
        wishes = CompletionWishes.of(request, call.echo)
        if self._job.stream:
            answer: Answer = CompletionStream(head, wishes, begun=bool(self.taken.published))
        else:
            answer = WholeCompletion(head, wishes)
        await self._check_fits(running, call.body, request)
        async with told_exactly(running, call.body), running.client.complete(call.body) as content:
            if call.streams:
                await self._relay(content, begun.read_by(answer, request))
            else:
                _hear([await content.read()], answer)
                await self._complete(answer.end(), answer.finish_reason, answer.usage)

    async def _check_fits(self, running: RunningModel, body: Mapping[str, Any], request: Mapping[str, Any]) -> None:
        """Raises InvalidArgumentError; not for an answer that goes on, whose request was good once."""
        if self._job.answer_must_fit and not self.taken.published:
            await check_fits(running, body, request.get("max_completion_tokens") or request.get("max_tokens"))

    async def _embed(self, running: RunningModel, request: Mapping[str, Any]) -> None:
        embeddings = EmbeddingList(self._job.model.id, request)
        for body in running.engine.embed_call(request).bodies:
            try:
                embeddings.feed(await running.client.embed(body), len(body["input"]))
            except (ValueError, KeyError, TypeError) as error:
                raise InternalError("The engine said something that is no list of embeddings.") from error
        await self._complete([embeddings.end()], "", embeddings.usage)

    async def _relay(self, content: aiohttp.StreamReader, answer: Answer) -> None:
        """Publish what the engine says as it comes.

        While one batch travels to Redis the next gathers in the reader, so batches grow with the load and the first
        token waits for nothing. The finish_reason waits for the end, so that no attempt finds an answer that is whole
        but for its usage.
        """
        events = EventReader()
        said: list[bytes] = []
        async for piece in content.iter_any():
            more, done = _hear(events.feed(piece), answer)
            said += more
            if done:
                break
            if said and not answer.complete:
                self._happened(Happening.SPOKE)
                await self._publish(_chunk_events(said))
                said = []
        if not answer.complete:
            raise EngineLostError("The engine broke off its answer.")
        await self._complete([*said, *answer.end()], answer.finish_reason, answer.usage)

    async def _complete(self, said: Sequence[bytes], finish_reason: str, usage: Usage) -> None:
        """Publish the rest of the answer and its end in one go."""
        cost = UsageProto(
            prompt_tokens=usage.prompt_tokens,
            completion_tokens=usage.completion_tokens,
            cached_tokens=usage.cached_tokens or 0,
        )
        completed = jobs_pb2.Completed(finish_reason=finish_reason, usage=cost)
        end = jobs_pb2.JobEvent(completed=completed).SerializeToString()
        await self._end([*_chunk_events(said), end], usage.prompt_tokens + usage.completion_tokens or None)

    async def _publish(self, events: list[bytes]) -> None:
        self._publishing = True
        await self._persist(partial(self._writer.publish, events))
        self._publishing = False
        if self._interruption is not None:
            raise asyncio.CancelledError

    async def _end(self, events: list[bytes], spent_tokens: int | None = None) -> None:
        self._publishing = True
        await self._persist(partial(self._writer.publish, events, ends=True, spent_tokens=spent_tokens))

    async def _close(self, error: JanError | None) -> None:
        """Say how it ended, unless that was said with the answer or is no longer ours to say."""
        try:
            match self.state:
                case JobState.FAILED:
                    await self._fail((error or _worker_lost()).to_detail())
                case JobState.CANCELLED:
                    await self._end([jobs_pb2.JobEvent(cancelled=jobs_pb2.Cancelled()).SerializeToString()])
                case JobState.RELEASED if self._engine_died:
                    await self._persist(partial(self._queue.lose_engine, self.taken))
                case JobState.RELEASED:
                    await self._persist(partial(self._queue.hand_back, self.taken))
                case JobState.PASSED_ON:
                    await self._pass_on()
                case _:
                    pass
        except LeaseLostError:
            self.state = JobState.ABANDONED

    async def _pass_on(self) -> None:
        """Give the job back for another host; when no living host can serve it, end it with the reasons."""
        assert self.not_here is not None
        detail = self.not_here.to_detail()
        why = f"{self._host.name}: {detail.message}"
        reasons = await self._persist(partial(self._queue.pass_on, self.taken, self._host.id, why))
        if not reasons:
            return
        if len(reasons) > 1:
            detail.message = f"No engine host can serve model {self._job.model.id}. {' '.join(reasons)}"
        self.state = JobState.FAILED
        await self._fail(detail)

    async def _fail(self, detail: ErrorDetail) -> None:
        failed = jobs_pb2.JobEvent(failed=jobs_pb2.Failed(error=detail))
        await self._end([failed.SerializeToString()])

    async def _persist(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Ask Redis however long it is away: each write may be repeated. Raises LeaseLostError."""
        backoff = Backoff()
        while True:
            try:
                return await ask()
            except (RedisError, OSError) as error:
                logger.warning("Redis is away, an answer waits", job=self._job.id, error=str(error))
                await backoff.wait()

    def _request(self) -> dict[str, Any]:
        request = orjson.loads(self._job.body)
        for field in CHAT_FIELDS:
            request.pop(field, None)
        return {**request, "stream": self._job.stream, "cache_salt": _cache_salt(self._job.tenant)}

    def _happened(self, happening: Happening) -> None:
        attempt = self.taken.lease.attempt
        self.state = next_state(self.state, happening, attempt=attempt, continuable=self._continuable)

    def _engine_lost(self) -> UnavailableError:
        """What to tell the client if the job cannot run again: with nothing said, the engine's trouble is the news."""
        if self.state is JobState.SPEAKING or self.taken.published:
            return _worker_lost()
        message = (
            f"The engine of model {self._job.model.id} did not answer. Try again; "
            "if it goes on, the log of the inference service says why."
        )
        return UnavailableError(message, code=ENGINE_UNREACHABLE, retry_after_seconds=5)

    def _verdict(self, answering: asyncio.Task[None]) -> tuple[Happening, JanError | None]:
        """What happened, seen from the task that answered; and what to tell the client if it failed."""
        if answering.cancelled():
            assert self._interruption is not None
            return self._interruption, _TOO_LONG if self._interruption is Happening.TIMED_OUT else None
        match answering.exception():
            case None:
                return Happening.FINISHED, None
            case LeaseLostError():
                return Happening.LEASE_LOST, None
            case EngineLostError() as lost:
                logger.warning("engine lost", job=self._job.id, reason=str(lost))
                return Happening.ENGINE_DIED if self._engine_died else Happening.ENGINE_LOST, self._engine_lost()
            case UnavailableError(code=process.ENGINE_CRASHED) as killed if self.state is JobState.TAKEN:
                return Happening.ENGINE_LOST, killed
            case JanError() as refusal if self.state is JobState.TAKEN and may_be_elsewhere(refusal):
                self.not_here = refusal
                return Happening.NOT_HERE, refusal
            case JanError() as refusal:
                return Happening.REFUSED, refusal
            case defect:
                logger.error("job failed", job=self._job.id, exc_info=defect)
                return Happening.REFUSED, InternalError("The server failed on this request.")


def _hear(events: Sequence[bytes], answer: Answer) -> tuple[list[bytes], bool]:
    """Feed an answer with an engine's events; what it has to say now, and whether the engine is done.

    Raises JanError: the engine reports an error, or says something that is no chunk.
    """
    said: list[bytes] = []
    for data in events:
        if data == DONE:
            return said, True
        try:
            chunk = orjson.loads(data)
            if chunk is None:  # llama.cpp says that between the prompts of one request
                continue
            if "error" not in chunk:
                said += answer.feed(chunk)
                continue
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InternalError("The engine said something that is no part of an answer.") from error
        raise error_of(_status(chunk["error"]), data)
    return said, False


def _status(error: object) -> int:
    """The HTTP status that an engine put into an error which it sent after its 200."""
    code = error.get("code") if isinstance(error, dict) else None
    return code if isinstance(code, int) else 500


def _cache_salt(tenant: str) -> str:
    """What keeps one tenant from learning by timing what another has asked (docs/security.md S17).

    Never the same in two lives of this service, and not to be guessed.
    """
    return hmac.digest(_CACHE_KEY, tenant.encode(), "sha256").hex()


def _chunk_events(chunks: Sequence[bytes]) -> list[bytes]:
    return [jobs_pb2.JobEvent(chunk=jobs_pb2.Chunk(data=data)).SerializeToString() for data in chunks]


def _worker_lost() -> UnavailableError:
    return UnavailableError(_LOST, code="worker_lost")

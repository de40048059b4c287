"""Asking an engine one job's request, and telling what it answers as it comes."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import aiohttp
import orjson

from inference_service.answers.answer import Answer
from inference_service.answers.chunks import ChunkStream
from inference_service.answers.completions import CompletionStream, CompletionWishes, WholeCompletion
from inference_service.answers.context_check import check_fits, told_exactly
from inference_service.answers.continuation import CHAT_FIELDS, ECHO, NOTHING, Begun
from inference_service.answers.embeddings import EmbeddingList
from inference_service.answers.head import head_of
from inference_service.answers.shapes import AnswerWishes
from inference_service.answers.sse import EventReader
from inference_service.answers.strict_calls import StrictCalls
from inference_service.answers.tokens import TokenQuestion
from inference_service.answers.whole import WholeAnswer, rewrite_whole
from inference_service.engines.client import ENGINE_UNREACHABLE, read_whole
from inference_service.engines.errors import ENGINE_DEAD, EngineLostError
from inference_service.jobs.hearing import hear
from inference_service.jobs.telling import Telling
from inference_service.models.model import RunningModel
from jan.errors import InternalError, InvalidArgumentError, JanError, UnavailableError
from jan.inference.v1 import jobs_pb2
from jan.queue.jobs import TakenJob

_CACHE_KEY = secrets.token_bytes(32)
_LOST = "The worker that wrote this answer was lost before its end; what was said so far is kept."


def request_of(job: jobs_pb2.Job) -> dict[str, Any]:
    """The request that a job carries, as engines are asked it. Raises ValueError: the body is no JSON."""
    request = orjson.loads(job.body)
    for field in CHAT_FIELDS:
        request.pop(field, None)
    return {**request, "stream": job.stream, "cache_salt": _cache_salt(job.tenant)}


def worker_lost() -> UnavailableError:
    """The error for an answer that was begun and that nobody can go on with."""
    return UnavailableError(_LOST, code="worker_lost")


def _no_prefill(model_id: str) -> InvalidArgumentError:
    message = f"Model '{model_id}' does not go on with a begun answer: end 'messages' with a user's message."
    return InvalidArgumentError(message, param="messages", code="unsupported_parameter")


class Asking:
    """One attempt at a job's answer, on a model that runs."""

    def __init__(
        self,
        taken: TakenJob,
        request: Mapping[str, Any],
        running: RunningModel,
        telling: Telling,
        spoke: Callable[[], None],
    ) -> None:
        """`spoke` is called before anything is told."""
        self._job = taken.job
        self._is_begun = bool(taken.published)
        self._request = request
        self._running = running
        self._telling = telling
        self._spoke = spoke

    async def answer(self, said: str) -> None:
        """Ask, and tell the answer to its end, going on from what earlier attempts have said.

        Raises EngineLostError: the engine broke off. JanError: it refuses, or failed. LeaseLostError.
        """
        try:
            begun = await self._begun(said)
            match self._job.endpoint:
                case jobs_pb2.ENDPOINT_CHAT_COMPLETIONS:
                    await self._chat(begun)
                case jobs_pb2.ENDPOINT_COMPLETIONS:
                    await self._complete(begun)
                case jobs_pb2.ENDPOINT_EMBEDDINGS:
                    await self._embed()
                case _:
                    raise InvalidArgumentError("This server does not know the job's endpoint.")
        except aiohttp.ClientError as error:
            raise EngineLostError(f"The engine broke off: {error}") from error
        except JanError as error:
            if (is_dead := error.code == ENGINE_DEAD) or error.code == ENGINE_UNREACHABLE:
                raise EngineLostError(f"{error.message} {error.__cause__}", is_dead=is_dead) from error
            if said:  # the request was good once: it is our way of going on that is refused
                raise worker_lost() from error
            raise

    async def _begun(self, said: str) -> Begun:
        """What was said as the engine counts it. Raises UnavailableError: it cannot go on from there.

        InvalidArgumentError: nor from what the client wrote of the answer.
        """
        engine, prefill = self._running.engine, self._job.prefill
        if not said:
            if prefill and not engine.continues(prefill):
                raise _no_prefill(self._job.model.id)
            return replace(ECHO if self._is_begun else NOTHING, prefill=prefill)
        is_chat = self._job.endpoint == jobs_pb2.ENDPOINT_CHAT_COMPLETIONS
        if not engine.continues(prefill + said if is_chat else ""):
            raise worker_lost()
        tokens = await engine.tokenize(self._running.client, TokenQuestion(said, add_special=False))
        return Begun(said, len(tokens.ids), prefill=prefill)

    async def _chat(self, begun: Begun) -> None:
        call = await self._running.engine.chat_call(begun.request(self._request)).bound()
        head, wishes = head_of(self._job), AnswerWishes.of(self._request)
        await self._check_fits(call.body)
        async with told_exactly(self._running, call.body), self._running.client.chat(call.body) as content:
            if call.streams:
                if self._job.stream:
                    answer: Answer = ChunkStream(head, wishes, begun=self._is_begun)
                else:
                    answer = WholeAnswer(head, wishes)
                strict = call.strict_calls(answer)
                await self._relay(content, begun.read_by(call.read_by(strict or answer), self._request), strict)
            else:
                data, finish_reason, usage = rewrite_whole(orjson.loads(await read_whole(content)), head, wishes)
                await self._telling.complete([data], finish_reason, usage)

    async def _complete(self, begun: Begun) -> None:
        call = self._running.engine.completion_call(begun.request(self._request))
        head, wishes = head_of(self._job), CompletionWishes.of(self._request, call.echo)
        if self._job.stream:
            answer: Answer = CompletionStream(head, wishes, begun=self._is_begun)
        else:
            answer = WholeCompletion(head, wishes)
        await self._check_fits(call.body)
        async with told_exactly(self._running, call.body), self._running.client.complete(call.body) as content:
            if call.streams:
                await self._relay(content, begun.read_by(answer, self._request))
            else:
                hear([await read_whole(content)], answer)
                await self._telling.complete(answer.end(), answer.finish_reason, answer.usage)

    async def _embed(self) -> None:
        embeddings = EmbeddingList(self._job.model.id, self._request)
        for body in self._running.engine.embed_call(self._request).bodies:
            try:
                embeddings.feed(await self._running.client.embed(body), len(body["input"]))
            except (ValueError, KeyError, TypeError) as error:
                raise InternalError("The engine said something that is no list of embeddings.") from error
        await self._telling.complete([embeddings.end()], "", embeddings.usage)

    async def _relay(self, content: aiohttp.StreamReader, answer: Answer, strict: StrictCalls | None = None) -> None:
        """Tell what the engine says as it comes; `strict` holds back calls of it that may have to be asked for again.

        The finish_reason waits for the end, so that no attempt finds an answer that is whole but for its usage.
        """
        events = EventReader()
        said: list[bytes] = []
        async for piece in content.iter_any():
            heard = events.feed(piece)
            self._telling.heard(len(heard))
            more, done = hear(heard, answer)
            said += more
            if done:
                break
            if said and not answer.complete:
                self._spoke()
                await self._telling.say(said)
                said = []
        if strict is not None:
            for call in tuple(strict.broken):
                said += strict.mend(call, *await self._called(strict.question(call, self._request)))
        if not answer.complete:
            raise EngineLostError("The engine broke off its answer.")
        await self._telling.complete([*said, *answer.end()], answer.finish_reason, answer.usage)

    async def _called(self, request: Mapping[str, Any]) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        """A choice that is the call of one function, which `request` asks for by name, and what it cost."""
        call = await self._running.engine.chat_call(request).bound()
        answer = WholeAnswer(head_of(self._job), AnswerWishes())
        reader = call.read_by(answer)
        async with self._running.client.chat(call.body) as content:
            events = EventReader()
            async for piece in content.iter_any():
                if hear(events.feed(piece), reader)[1]:
                    break
        if not answer.complete:
            raise EngineLostError("The engine broke off its answer.")
        (data,) = answer.end()
        whole = orjson.loads(data)
        return whole["choices"][0], whole["usage"]

    async def _check_fits(self, body: Mapping[str, Any]) -> None:
        """Raises InvalidArgumentError; not for an answer that goes on, whose request was good once."""
        if self._job.answer_must_fit and not self._is_begun:
            most_tokens = self._request.get("max_completion_tokens") or self._request.get("max_tokens")
            await check_fits(self._running, body, most_tokens)


def _cache_salt(tenant: str) -> str:
    """What keeps one tenant from learning by timing what another has asked (docs/security.md S17).

    Never the same in two lives of this service, and not to be guessed.
    """
    return hmac.digest(_CACHE_KEY, tenant.encode(), "sha256").hex()

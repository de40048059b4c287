"""POSTs that may be sent again: the first answer is kept for a day under the request's `Idempotency-Key`.

What the same request gets when it is sent again, by whom it was sent (another person's key is another key):

- 409 while it is being answered, with when to come again; from a gateway that is gone it is taken over, and should that
  one be back, it stops, and answers as for any repetition. A stream that can be taken up again is followed from its
  first event;
- the recorded status and body, with `Idempotency-Replayed: true`;
- 422 when it is another request than the first;
- a new answer after a 5xx, 408, 409 or 429, which are not kept, and after a generation whose client left it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

from aiohttp import web
from redis.exceptions import RedisError

from gateway.http.rate_limits import RATE_LIMIT_HEADERS
from gateway.http.retries import is_generation
from gateway.http.sse import STREAM_RECORD, StreamRecord
from gateway.http.uploads import DIGEST
from gateway.idempotency.key import IDENTITY, Identity, identify, is_same_upload, key_of
from gateway.idempotency.records import ClaimLostError, Record, RecordedAnswers
from gateway.keys import RECORDED, STORAGE
from gateway.queueing.jobs import queue_unavailable
from gateway.queueing.resumption import Place
from gateway.responses.stream import resume_response
from gateway.routes.chat_completions import resume_chat
from gateway.runs.stream import resume_run
from jan.errors import ConflictError, GoneError, InternalError, JanError, UnprocessableError
from jan.ids import CompletionId, RunId, ThreadId

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

REPLAYED = {"Idempotency-Replayed": "true"}
_TEMPORARY = frozenset({408, 409, 425, 429})
_SERVER_ERRORS = 500


@web.middleware
async def keep_answers(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer a request with an `Idempotency-Key` once, however often it is sent."""
    key = key_of(request)
    if key is None:
        return await handler(request)
    answers = request.app[RECORDED]
    identity = request[IDENTITY] = await identify(request, key)
    record, claimed = await _claim(answers, identity)
    if not claimed:
        return await _repeat(request, record, identity)
    task = answers.run(_Answering(answers, identity, record).answer(request, handler), f"answer-{identity.name[:12]}")
    try:
        await asyncio.wait({task})
    except asyncio.CancelledError:
        if is_generation(request):
            task.cancel()  # it changes nothing: its place is free at once, and the answer is made anew
        raise
    try:
        return task.result()
    except ClaimLostError:
        return await _answer_of_another(request, answers, identity)


async def _claim(answers: RecordedAnswers, identity: Identity) -> tuple[Record, bool]:
    """Begin a request, also one that a gateway left behind; or find what is known of it.

    Raises UnprocessableError: it is another request. UnavailableError: the queue does not answer.
    """
    try:
        record, claimed = await answers.claim(identity.name, identity.route, identity.body)
        if not claimed and record.gateway and not record.status:
            _check_same(record, identity)
            return await answers.take_over(identity.name, record)
    except (RedisError, OSError):
        raise queue_unavailable() from None
    return record, claimed


class _Answering:
    """One request being answered for the first time."""

    def __init__(self, answers: RecordedAnswers, identity: Identity, record: Record) -> None:
        self._answers = answers
        self._name = identity.name
        self._record = record
        self._followable = False

    async def answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Have the request handled, and keep what it was answered, or forget it."""
        stream = request[STREAM_RECORD] = StreamRecord(self._opened)
        async with self._answers.held(self._name, self._record):
            try:
                response = await handler(request)
            except BaseException:
                if not self._followable:
                    await self._answers.drop(self._name, self._record)
                raise
            record = self._answered(request, response, stream)
            if record is not None:
                is_mine = await self._answers.keep(self._name, record)
            else:
                is_mine = self._followable or await self._answers.drop(self._name, self._record)
            if not is_mine and not response.prepared:
                raise ClaimLostError(self._name)
        return response

    async def _opened(self, stream: StreamRecord) -> None:
        """A stream that can be followed elsewhere is kept from its beginning."""
        if stream.address:
            self._followable = True
            self._record = replace(self._record, status=200, stream=stream.address, content=stream.opening)
            stream.is_refused = not await self._answers.keep(self._name, self._record)
            await asyncio.sleep(0)  # if it is, this is where it ends

    def _answered(self, request: web.Request, response: web.StreamResponse, stream: StreamRecord) -> Record | None:
        """The record of an answer; None for one that is not kept."""
        if response.status >= _SERVER_ERRORS or response.status in _TEMPORARY or stream.failed:
            return None
        record = replace(self._record, status=response.status, headers=_kept_headers(response), stream=())
        if record.body is None:
            if response.status >= 300:  # it may not have been read to its end
                return None
            record = replace(record, body=request[DIGEST].hexdigest(), size_bytes=request[DIGEST].size_bytes)
        if not isinstance(response, web.Response):
            return replace(record, content=stream.said) if stream.said else None
        # Every answer here that is no stream holds bytes.
        return replace(record, content=response.body) if isinstance(response.body, bytes) else None


async def _repeat(request: web.Request, record: Record, identity: Identity) -> web.StreamResponse:
    """Answer what was answered before. Raises what the module's docstring tells."""
    _check_same(record, identity)
    if not record.status:
        raise _in_use(request.app[RECORDED].free_in_seconds(record))
    if identity.body is None and not await is_same_upload(request, record.body or "", record.size_bytes):
        raise _mismatch()
    if record.stream:
        return await _follow_again(request, record)
    if record.too_large:
        raise GoneError("It was answered; the answer was too large to be kept.", code="answer_not_kept")
    return web.Response(body=record.content, status=record.status, headers={**record.headers, **REPLAYED})


async def _answer_of_another(request: web.Request, answers: RecordedAnswers, identity: Identity) -> web.StreamResponse:
    """What the gateway answers that has the request now; a stream that was begun here breaks off, to be sent again.

    Raises what `_repeat` raises.
    """
    if request[STREAM_RECORD].has_begun:
        raise ConnectionResetError("another gateway answers this request")
    try:
        record = await answers.find(identity.name)
    except (RedisError, OSError):
        raise queue_unavailable() from None
    if record is None or identity.body is None:  # of an upload nobody knows how far it was read
        raise _in_use(1)
    return await _repeat(request, record, identity)


def _in_use(retry_after_seconds: int) -> ConflictError:
    return ConflictError(
        "A request with this Idempotency-Key is being answered.",
        code="idempotency_key_in_use",
        retry_after_seconds=retry_after_seconds,
    )


def _check_same(record: Record, identity: Identity) -> None:
    """Raise UnprocessableError when the record is another request's; of an upload only the route is known yet."""
    if record.route != identity.route or (identity.body is not None and record.body != identity.body):
        raise _mismatch()


async def _follow_again(request: web.Request, record: Record) -> web.StreamResponse:
    """The stream from its first event, which may not have ended yet. Raises GoneError: it is not kept any longer."""
    match record.stream:
        case ("run", thread_id, run_id, round_):
            run = await request.app[STORAGE].get_run(ThreadId(thread_id), RunId(run_id))
            return await resume_run(request, run, Place(int(round_), 0), opening=record.content, headers=REPLAYED)
        case ("response", thread_id, run_id, *with_results):
            run = await request.app[STORAGE].get_run(ThreadId(thread_id), RunId(run_id))
            return await resume_response(request, run, -1, with_results=bool(with_results), headers=REPLAYED)
        case (_, chat_id):
            return await resume_chat(request, CompletionId(chat_id), 0, headers=REPLAYED)
        case _:
            raise InternalError("A recorded stream has no address.")


def _kept_headers(response: web.StreamResponse) -> dict[str, str]:
    # What belongs to the one connection or request is made anew; what may be sent by now, no record knows.
    left_out = {
        "content-length",
        "transfer-encoding",
        "connection",
        "date",
        "server",
        "x-request-id",
        "request-id",
        *RATE_LIMIT_HEADERS,
    }
    kept = ((name, value) for name, value in response.headers.items() if name.lower() not in left_out)
    return {str(name): value for name, value in kept}


def _mismatch() -> JanError:
    return UnprocessableError(
        "This Idempotency-Key was used for another request; use a new key for each.", code="idempotency_key_reused"
    )

"""The requests of a batch that are for responses: stored as those that come alone, or answered as a chat."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from weakref import WeakValueDictionary

import orjson

from gateway.anthropic.documents import Documents
from gateway.batches.requests import refuse_in_batches
from gateway.http.body import validate
from gateway.idempotency.new_ids import NewIds
from gateway.images.shown import Images
from gateway.models.lookup import find_model, may_see
from gateway.queueing.jobs import JobClient
from gateway.responses.as_chat import UnstoredAnswer, unstored_job
from gateway.responses.creation import begin, history, made_before, new_inputs, new_run, place_for
from gateway.responses.objects import stored_response
from gateway.responses.searching import check_stores, with_search
from gateway.responses.waiting import until_over
from gateway.runs import states
from gateway.runs.cancelling import cancel_run
from gateway.runs.executor import RunExecutor
from gateway.schemas.common import JsonObject
from gateway.schemas.response_items import check_eyes
from gateway.schemas.responses import CreateResponse
from gateway.services.inference import InferenceClient
from gateway.services.storage import StorageClient
from gateway.vector_stores.search import ChunkSearcher
from jan.errors import FailedPreconditionError
from jan.ids import RunId, ThreadId
from jan.inference.v1 import jobs_pb2
from jan.queue.follower import LogFollower
from jan.storage.v1 import runs_pb2

_PRIORITY = jobs_pb2.PRIORITY_BATCH


@dataclass(frozen=True, slots=True)
class ResponseParts:
    """What responses and messages are made of."""

    storage: StorageClient
    inference: InferenceClient
    jobs: JobClient
    runs: RunExecutor
    follower: LogFollower
    images: Images
    documents: Documents
    searcher: ChunkSearcher


def read_response(body: JsonObject) -> CreateResponse:
    """A line's request. Raises InvalidArgumentError, as its endpoint would, and for what no batch can do."""
    refuse_in_batches(body, "stream", "background")
    asked = validate(body, CreateResponse)
    asked.check_supported()
    return asked


class BatchResponses:
    """The responses of one batch. Each has ids that follow from its line, so whoever goes on finds it again."""

    def __init__(self, parts: ResponseParts, batch_id: str, tenant: str) -> None:
        self._parts = parts
        self._batch_id = batch_id
        self._tenant = tenant
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def job_of(self, job_id: str, asked: CreateResponse) -> tuple[jobs_pb2.Job, UnstoredAnswer]:
        """The job of one with `store: false`, and who hears its events. Raises what its endpoint answers with."""
        parts, storage, ids = self._parts, self._parts.storage, NewIds(job_id)
        await check_stores(storage, asked)
        place = await place_for(storage, asked, "")
        model = await find_model(storage, asked.model)
        check_eyes(asked.input, model.id, sees=may_see(model))
        inputs = await new_inputs(storage, asked, ids, place)
        run = new_run(asked, model, place, inputs, run_id=ids.next(RunId), tenant=self._tenant, priority=_PRIORITY)
        run.ClearField("thread_id")
        said = await with_search(storage, parts.searcher, run, [*await history(storage, place), *inputs])
        job = await unstored_job(parts.inference, parts.images, run, model, said, job_id=job_id, priority=_PRIORITY)
        return job, UnstoredAnswer(run, said, with_results=asked.shows_results)

    async def answer(self, line: int, asked: CreateResponse, seconds_left: float) -> bytes:
        """A stored response when it has ended. Those that go on in one place do so one after another.

        Raises what its endpoint would answer with.
        """
        async with self._turn(asked):
            run = await self._begun(line, asked) or await self._begin(line, asked, seconds_left)
            run = await until_over(self._parts.storage, self._parts.follower, self._parts.runs, run, starts=True)
        return await self._told(run, asked)

    async def settle(self, line: int, asked: CreateResponse) -> bytes | None:
        """Stop a stored response; the answer of one that had ended by itself before."""
        run = await self._begun(line, asked)
        if run is None:
            return None
        if run.status in states.ACTIVE:
            try:
                await cancel_run(self._parts.storage, self._parts.jobs, ThreadId(run.thread_id), RunId(run.id))
                return None
            except FailedPreconditionError:  # it ended in this moment
                run = await self._parts.storage.get_run(run.thread_id, run.id)
        return None if run.status in (states.CANCELLED, states.EXPIRED) else await self._told(run, asked)

    async def _begin(self, line: int, asked: CreateResponse, seconds_left: float) -> runs_pb2.Run:
        storage, ids = self._parts.storage, self._ids(line)
        await check_stores(storage, asked)
        run_id, made = ids.next(RunId), ids.thread() or ""
        place = await place_for(storage, asked, made)
        model = await find_model(storage, asked.model)
        check_eyes(asked.input, model.id, sees=may_see(model))
        inputs = await new_inputs(storage, asked, ids, place)
        run = new_run(asked, model, place, inputs, run_id=run_id, tenant=self._tenant, priority=_PRIORITY)
        run.expires_at.seconds = run.created_at.seconds + max(1, int(seconds_left))
        return await begin(storage, place, run, inputs)

    async def _begun(self, line: int, asked: CreateResponse) -> runs_pb2.Run | None:
        ids = self._ids(line)
        return await made_before(self._parts.storage, asked, ids.next(RunId), ids.thread() or "")

    async def _told(self, run: runs_pb2.Run, asked: CreateResponse) -> bytes:
        return orjson.dumps(await stored_response(self._parts.storage, run, with_results=asked.shows_results))

    def _ids(self, line: int) -> NewIds:
        return NewIds(f"{self._batch_id}.{line}")

    def _turn(self, asked: CreateResponse) -> asyncio.Lock:
        place = asked.previous_response_id or (asked.conversation.id if asked.conversation else "")
        return self._turns.setdefault(place, asyncio.Lock()) if place else asyncio.Lock()

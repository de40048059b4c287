"""Following a stored response: its run's event log, told in the events of the Responses API."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from functools import partial

import orjson
from aiohttp import web
from redis.exceptions import RedisError

from gateway.convert.items import item_from_message
from gateway.http.errors import jan_error_body
from gateway.http.sse import EventStream, frame
from gateway.keys import FOLLOWER, RUNS, STORAGE
from gateway.queueing.jobs import queue_unavailable
from gateway.queueing.resumption import STARTING_AFTER, log_bounds
from gateway.queueing.waiting_room import WaitingRoom
from gateway.responses.beginning import PATIENCE_SECONDS, Beginning
from gateway.responses.events import ResponseEvents
from gateway.responses.objects import asked_of, response_object, stored_response
from gateway.responses.removal import raise_if_refused
from gateway.responses.waiting import ENDS, Event, events_of
from gateway.runs import reasoning, search_item, states
from gateway.runs.calls import spelled_in
from gateway.runs.derived_ids import job_id
from gateway.runs.file_search import file_search_tool
from gateway.runs.listening import heard
from gateway.runs.retelling import Told, told_once
from gateway.schemas.common import JsonObject
from gateway.services.storage import StorageClient
from jan.errors import (
    GoneError,
    InvalidArgumentError,
    JanError,
    NotFoundError,
    ResourceExhaustedError,
    UnavailableError,
)
from jan.queue.subscription import LogRestartedError, LogSubscription, SlowReaderError
from jan.storage.v1 import runs_pb2


class Teller:
    """Tells a run's events as those of its response."""

    def __init__(self, storage: StorageClient, run: runs_pb2.Run, after: int, *, with_results: bool) -> None:
        """with_results: a search of files tells what it found."""
        self.with_results = with_results
        self._storage = storage
        self._run = run
        self._events = ResponseEvents(run.id, run.thread_id, spelled=spelled_in(run), after=after)
        self.run_id = run.id
        self.is_over = False

    async def tell(self, event: Event) -> bytes:
        """The frames for one of the run's events; none for those that the Responses API has no word for."""
        name, data = event
        match name:
            case "thread.run.created":
                queued = response_object(_as_it_was(self._run, states.QUEUED), [])
                return self._events.created(queued, queued=queued["status"] == "queued")
            case "thread.run.in_progress":
                return self._events.in_progress(response_object(_as_it_was(self._run, states.IN_PROGRESS), []))
            case search_item.BEGUN:
                return self._events.search(data["id"])
            case search_item.ENDED:
                return self._events.searched(await self._searched(data))
            case reasoning.EVENT:
                return self._events.think(data["text"])
            case "thread.message.created":
                return self._events.say("")
            case "thread.message.delta":
                [part] = data["delta"]["content"]
                return self._events.say(part["text"]["value"], part["text"].get("annotations") or ())
            case "thread.run.step.delta":
                calls = data["delta"]["step_details"]["tool_calls"]
                return b"".join(map(self._events.call, calls))
            case "error":
                self.is_over = True
                return frame(orjson.dumps({"error": data}), event="error")
            case _ if name in ENDS:
                self.is_over = True
                run = await self._storage.get_run(self._run.thread_id, self._run.id)
                whole = await stored_response(self._storage, run, with_results=self.with_results)
                return self._events.end(whole)
        return b""

    async def _searched(self, item: JsonObject) -> JsonObject:
        """A search's item for this reader: the log has it without what was found, and so is one deleted since."""
        if not self.with_results or item["status"] != "completed":
            return item
        try:
            message = await self._storage.get_message(self._run.thread_id, item["id"])
        except NotFoundError:
            return item
        return item_from_message(message, with_results=True)


def _as_it_was(run: runs_pb2.Run, status: states.Status) -> runs_pb2.Run:
    """A run without its end, so that its first events are the same whenever they are told."""
    before = runs_pb2.Run()
    before.CopyFrom(run)
    before.status = status
    before.ClearField("last_error")
    before.ClearField("incomplete_reason")
    before.ClearField("completed_at")
    return before


async def stream_response(
    request: web.Request, run: runs_pb2.Run, headers: Mapping[str, str], *, with_results: bool = False
) -> web.StreamResponse:
    """Start a response and tell it until its end. A client that leaves does not stop it.

    with_results: see `Teller`. Raises InvalidArgumentError: its input is too long, and that was known at once.
    """
    async with request.app[FOLLOWER].follow(run.id, waits_for_redis=True) as subscription:
        await request.app[RUNS].start(run)
        may_be_refused = not asked_of(run)["told_back"]["background"]
        teller = Teller(request.app[STORAGE], run, -1, with_results=with_results)
        return await _tell(request, run, subscription, teller, headers, may_be_refused=may_be_refused)


async def resume_response(
    request: web.Request,
    run: runs_pb2.Run,
    after: int,
    *,
    with_results: bool = False,
    headers: Mapping[str, str] | None = None,
) -> web.StreamResponse:
    """Tell a response's events behind number `after`, -1 for all, each once, until its end.

    with_results: see `Teller`. Raises GoneError: they are not kept any longer; the response is.
    """
    bounds, knows_more = await log_bounds(request, run.id), after > _alike(run)
    if (bounds.last == 0 and (knows_more or run.status in states.TERMINAL)) or bounds.first > 1:
        raise _gone()
    try:
        if knows_more:
            await request.app[RUNS].retellings.check(run.id, _gone())
        async with request.app[FOLLOWER].follow(run.id, generation=bounds.generation) as subscription:
            teller = Teller(request.app[STORAGE], run, after, with_results=with_results)
            return await _tell(request, run, subscription, teller, headers)
    except RedisError:
        raise queue_unavailable() from None


def _gone() -> GoneError:
    return GoneError(
        "The events of this response are not kept any longer; read it without 'stream'.", code="stream_expired"
    )


async def _tell(
    request: web.Request,
    run: runs_pb2.Run,
    subscription: LogSubscription,
    teller: Teller,
    headers: Mapping[str, str] | None = None,
    *,
    may_be_refused: bool = False,
) -> web.StreamResponse:
    storage = request.app[STORAGE]
    address = ("response", run.thread_id, run.id, *(["with_results"] if teller.with_results else ()))
    stream = EventStream(request, address=address, headers=headers)
    room = WaitingRoom(request, job_id(run.id, run.round))
    batches = told_once(request.app[FOLLOWER], subscription, Told(0), partial(heard, room=room))
    async with (
        aclosing(batches),
        Beginning(events_of(storage, run, batches), searches=file_search_tool(run) is not None) as beginning,
    ):
        if may_be_refused:
            await beginning.wait(PATIENCE_SECONDS)
            if beginning.is_over:
                await raise_if_refused(storage, await storage.get_run(run.thread_id, run.id))
        return await _write(stream, teller, beginning.batches(), room)


async def _write(
    stream: EventStream, teller: Teller, batches: AsyncIterator[Sequence[Event]], room: WaitingRoom
) -> web.StreamResponse:
    async with stream:
        try:
            async for batch in batches:
                frames = b"".join([await teller.tell(event) for event in batch])
                await stream.write(frames if batch else room.comment)
                if teller.is_over:
                    break
        except LogRestartedError:
            lost = f"The stream was lost; read the response {teller.run_id} for its outcome."
            await stream.fail(_error(UnavailableError(lost, code="stream_lost")))
        except SlowReaderError:
            slow = "You read more slowly than the model writes; take it up again behind the last event you have."
            await stream.fail(_error(ResourceExhaustedError(slow, code="slow_reader")))
        except JanError as error:  # its thread was deleted, or storage is away
            await stream.fail(_error(error))
    return stream.response


def _alike(run: runs_pb2.Run) -> int:
    """The number of the last event that every telling of a response begins with alike.

    One that says that it is in progress may say instead, when it is told anew, that it has failed.
    """
    return 1 if asked_of(run)["told_back"]["background"] else 0


def starting_after(request: web.Request) -> int:
    """The number of the last event that the client has, -1 for none: a response's are numbered from 0.

    Raises InvalidArgumentError: no number.
    """
    text = request.query.get(STARTING_AFTER)
    if text is None:
        return -1
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise InvalidArgumentError(f"'{STARTING_AFTER}' must be the number of an event.", param=STARTING_AFTER)
    return int(text)


def _error(error: JanError) -> bytes:
    return frame(jan_error_body(error), event="error")

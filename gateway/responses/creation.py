"""From a request for a response to the run that answers it, and the thread where it stands."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from gateway.completions.parameters import stored_parameters
from gateway.convert.json_fields import to_text
from gateway.convert.threads import DEFAULT_ASSISTANT, new_thread
from gateway.idempotency.new_ids import NewIds
from gateway.models.threads import assistant_of
from gateway.queueing.priority import Priority, name_of, tier_told
from gateway.responses.files import with_files_read
from gateway.responses.inputs import copy_of, input_messages
from gateway.responses.objects import asked_of, no_response, written
from gateway.responses.pairs import check_pairs
from gateway.runs import states
from gateway.runs.steps import now
from gateway.schemas.chat_tools import NamedTool
from gateway.schemas.responses import CreateResponse
from gateway.services.storage import StorageClient
from gateway.vector_stores.file_search import FILE_SEARCH
from jan.errors import FailedPreconditionError, InvalidArgumentError, NotFoundError
from jan.ids import ConversationId, ResponseId, RunId
from jan.storage.v1 import messages_pb2, models_pb2, paging_pb2, runs_pb2, threads_pb2

# A response may wait in the background for its turn; what an Assistants client waits for is bounded by OpenAI.
RESPONSE_LIFETIME = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a response is to stand: in a thread that is here, or in one that is to be made for it."""

    thread_id: str
    to_make: threads_pb2.CreateThreadRequest | None = None
    assistant_id: str = DEFAULT_ASSISTANT
    in_conversation: bool = False


async def place_for(storage: StorageClient, body: CreateResponse, made: str) -> Place:
    """The thread of the conversation that is named; that of the response in front, or a copy up to it; else a new one.

    made: the id of a thread that is to be made; empty where storage names it.
    Raises NotFoundError: there is no such conversation. InvalidArgumentError: no such response.
    FailedPreconditionError: the response in front has not ended.
    """
    if body.conversation is not None:
        thread = await _conversation(storage, body.conversation.id)
        return Place(thread.id, assistant_id=assistant_of(thread).assistant_id, in_conversation=True)
    if body.previous_response_id is not None:
        return await _behind(storage, body.previous_response_id, made)
    return Place(made, _new_thread(made))


async def made_before(storage: StorageClient, body: CreateResponse, run_id: RunId, made: str) -> runs_pb2.Run | None:
    """The run that an earlier sending of this request made, if it came so far."""
    threads = [made]
    with contextlib.suppress(InvalidArgumentError):
        if body.previous_response_id is not None:
            threads.append(ResponseId.parse(body.previous_response_id).thread_id)
        if body.conversation is not None:
            threads.append(ConversationId.parse(body.conversation.id).thread_id)
    for thread_id in threads:
        with contextlib.suppress(NotFoundError):
            return await storage.get_run(thread_id, run_id)
    return None


async def history(storage: StorageClient, place: Place) -> list[messages_pb2.Message]:
    """What was said at a place so far."""
    return await storage.all_messages(place.thread_id) if place.to_make is None else list(place.to_make.messages)


def new_run(
    body: CreateResponse,
    model: models_pb2.Model,
    place: Place,
    inputs: Sequence[messages_pb2.Message],
    *,
    run_id: RunId,
    tenant: str,
    priority: Priority,
) -> runs_pb2.Run:
    """A queued run that answers a request for a response, with its own copy of all that it runs with."""
    stored, called = stored_parameters(model.parameters_json), body.called()
    choice = called.choice.model_dump() if isinstance(called.choice, NamedTool) else called.choice
    tools = [tool.model_dump(exclude_none=True) for tool in called.tools]
    if body.search is not None:
        tools.append(body.search.for_run())
        choice = {"type": FILE_SEARCH} if body.must_search else choice
    asked = {
        "told_back": body.told_back() | {"service_tier": tier_told(body.service_tier) or None},
        "in_conversation": place.in_conversation,
        "input": [message.id for message in inputs],
        "places": body.callable_places,
    }
    run = runs_pb2.Run(
        id=run_id,
        thread_id=place.thread_id,
        assistant_id=place.assistant_id,
        status=states.QUEUED,
        round=1,
        created_at=now(),
        model=model.id,
        instructions=body.instructions or "",
        tools_json=to_text(tools),
        tool_choice_json=to_text(choice),
        response_format_json=to_text(body.text.for_engine() if body.text else None),
        metadata_json=to_text(body.metadata or {}),
        max_completion_tokens=body.max_output_tokens,
        parallel_tool_calls=body.parallel_tool_calls is not False,
        temperature=stored.get("temperature") if body.temperature is None else body.temperature,
        top_p=stored.get("top_p") if body.top_p is None else body.top_p,
        reasoning_effort=(body.reasoning.effort if body.reasoning else None) or "",
        tenant=tenant,
        priority=name_of(priority),
        response_json=to_text(asked),
    )
    run.expires_at.FromDatetime(run.created_at.ToDatetime() + RESPONSE_LIFETIME)
    return run


async def new_inputs(
    storage: StorageClient, body: CreateResponse, ids: NewIds, place: Place
) -> list[messages_pb2.Message]:
    """The messages that a request's input becomes, oldest first.

    Raises as `with_files_read`, `input_messages` and `check_pairs`.
    """
    items = await with_files_read(storage, body.input)
    in_front = place.thread_id if place.to_make is None else place.to_make.messages
    inputs = await input_messages(storage, items, ids, in_front)
    await check_pairs(storage, in_front, inputs, calls_may_wait=body.calls_may_wait)
    return inputs


async def begin(
    storage: StorageClient, place: Place, run: runs_pb2.Run, inputs: Sequence[messages_pb2.Message]
) -> runs_pb2.Run:
    """Store a run and its input at its place; accepted from here on. Raises FailedPreconditionError: it is busy."""
    if place.to_make is not None:
        run.thread_id = (await storage.create_thread(place.to_make)).id
    return await storage.create_run(runs_pb2.CreateRunRequest(run=run, additional_messages=inputs))


async def find_response(storage: StorageClient, response_id: str) -> runs_pb2.Run:
    """The run that a response is. Raises NotFoundError."""
    try:
        parsed = ResponseId.parse(response_id)
        run = await storage.get_run(parsed.thread_id, parsed.run_id)
    except (NotFoundError, InvalidArgumentError):
        raise no_response(response_id) from None
    asked_of(run)
    return run


async def _conversation(storage: StorageClient, conversation_id: str) -> threads_pb2.Thread:
    try:
        return await storage.get_thread(ConversationId.parse(conversation_id).thread_id)
    except (NotFoundError, InvalidArgumentError):
        raise NotFoundError(
            f"Conversation with id '{conversation_id[:160]}' not found.", param="conversation"
        ) from None


async def _behind(storage: StorageClient, response_id: str, made: str) -> Place:
    """Where its turn is the thread's last, there; else a copy of the thread up to it, since one thread has no branches.

    A conversation is left as it is: it grows by those who name it.
    """
    try:
        before = await find_response(storage, response_id)
    except NotFoundError as unknown:
        # OpenAI's status for it: 404 is for what the path names.
        raise InvalidArgumentError(
            f"Previous response with id '{response_id[:160]}' not found.",
            param="previous_response_id",
            code="previous_response_not_found",
        ) from unknown
    if before.status in states.ACTIVE:
        raise FailedPreconditionError(
            f"The response {response_id[:160]} has not ended yet.", param="previous_response_id"
        )
    asked = asked_of(before)
    turn = {*asked["input"], *(message.id for message in await written(storage, before))}
    if not asked["in_conversation"] and await _last_id(storage, before.thread_id) in turn:
        return Place(before.thread_id, assistant_id=before.assistant_id)
    return await _branch(storage, before, turn, made)


async def _branch(storage: StorageClient, before: runs_pb2.Run, turn: set[str], made: str) -> Place:
    messages = await storage.all_messages(before.thread_id)
    last = max((place for place, message in enumerate(messages) if message.id in turn), default=-1)
    copied = [*map(copy_of, messages[: last + 1])]
    return Place(made, _new_thread(made, copied), assistant_id=before.assistant_id)


async def _last_id(storage: StorageClient, thread_id: str) -> str:
    newest = paging_pb2.PageRequest(page_size=1, order=paging_pb2.ORDER_DESC)
    messages = (
        await storage.list_messages(messages_pb2.ListMessagesRequest(thread_id=thread_id, page=newest))
    ).messages
    return messages[0].id if messages else ""


def _new_thread(thread_id: str, messages: Sequence[messages_pb2.Message] = ()) -> threads_pb2.CreateThreadRequest:
    draft = new_thread(None, NewIds())
    draft.thread.id = thread_id
    draft.messages.extend(messages)
    return draft

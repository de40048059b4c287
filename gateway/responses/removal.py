"""Removing a stored response, and its turn with it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

from gateway.convert.items import is_search
from gateway.convert.json_fields import to_text
from gateway.models.schemas import as_sent
from gateway.responses.objects import asked_of, named_here, written
from gateway.runs import states
from gateway.services.storage import StorageClient
from jan.errors import ConflictError, InvalidArgumentError, JanError, NotFoundError
from jan.storage.v1 import messages_pb2, paging_pb2, runs_pb2


async def remove(storage: StorageClient, run: runs_pb2.Run) -> None:
    """Remove a response that has ended: its messages first, so that whoever is interrupted can do it again.

    What it said in a conversation stays there. A thread that holds nothing any more goes into the trash. Raises
    NotFoundError: somebody else removed it.
    """
    asked = asked_of(run)
    if not asked["in_conversation"]:
        turn = [*asked["input"], *(message.id for message in await written(storage, run))]
        for message_id in turn:
            with contextlib.suppress(NotFoundError):
                await storage.delete_message(run.thread_id, message_id)
        if await _is_empty(storage, run.thread_id):
            await storage.delete_thread(run.thread_id)
            return
    while True:
        run.response_json = to_text({"deleted": True})
        try:
            await storage.update_run(run)
            return
        except ConflictError:
            run = await storage.get_run(run.thread_id, run.id)
            asked_of(run)


async def raise_if_refused(storage: StorageClient, run: runs_pb2.Run) -> None:
    """Take back a response that an engine refused: no room for its input, or a schema that does not bind.

    Raises InvalidArgumentError: it was such a one; nothing of it is left.
    """
    code = run.last_error.code
    if run.status != states.FAILED or code not in states.REFUSALS:
        return
    searches = await written(storage, run)  # files are searched before the engine is asked
    if not all(map(is_search, searches)):
        return
    with contextlib.suppress(NotFoundError):  # another sending of the request has taken it back
        for message_id in [*asked_of(run)["input"], *(message.id for message in searches)]:
            with contextlib.suppress(NotFoundError):
                await storage.delete_message(run.thread_id, message_id)
        await remove(storage, run)
    raise too_long(run.last_error.message) if code == states.CONTEXT_LENGTH else _not_bound(code, run)


@contextlib.contextmanager
def input_named(places: Sequence[str] = ()) -> Iterator[None]:
    """Errors of an engine about what it is shown name the input, which is all of that which these requests know.

    places: where the request has the functions that the engine is told.
    """
    try:
        yield
    except InvalidArgumentError as error:
        raise about_input(error, places) from error


def about_input(error: JanError, places: Sequence[str] = ()) -> JanError:
    """The same error where the messages of a chat are called the input. places: see `as_sent`."""
    if not isinstance(error, InvalidArgumentError):
        return error
    if error.code == states.CONTEXT_LENGTH:
        return too_long(error.message)
    return InvalidArgumentError(error.message, code=error.code, param=named_here(as_sent(error.param, places)))


def too_long(message: str) -> InvalidArgumentError:
    """The error for an input that its model has no room for."""
    return InvalidArgumentError(message, code=states.CONTEXT_LENGTH, param="input")


def _not_bound(code: str, run: runs_pb2.Run) -> InvalidArgumentError:
    """The error for a schema that does not bind: of the format or of a tool."""
    return InvalidArgumentError(run.last_error.message, code=code, param=named_here(run.last_error.param))


async def _is_empty(storage: StorageClient, thread_id: str) -> bool:
    one = messages_pb2.ListMessagesRequest(thread_id=thread_id, page=paging_pb2.PageRequest(page_size=1))
    return not (await storage.list_messages(one)).messages

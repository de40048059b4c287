"""Calls of functions and their outputs: an input that leaves one without the other is refused, in OpenAI's words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from gateway.convert.items import FUNCTION_CALL
from gateway.runs.conversation import function_part
from gateway.services.storage import StorageClient
from jan.errors import InvalidArgumentError
from jan.storage.v1 import messages_pb2, paging_pb2

_PARAM = "input"
# More than the calls and outputs behind what a person said last, nearly always.
_PAGE_SIZE = 50
_PERSONS = (messages_pb2.MESSAGE_ROLE_USER, messages_pb2.MESSAGE_ROLE_SYSTEM)


async def check_pairs(
    storage: StorageClient,
    in_front: str | Sequence[messages_pb2.Message],
    inputs: Sequence[messages_pb2.Message],
    *,
    calls_may_wait: bool = False,
) -> None:
    """See that each output has its call in front of it and, unless calls may wait, each new call its output.

    in_front: the thread behind which the inputs stand, or its messages. New are the calls of the inputs, and those
    behind what a person said last. Of those in front of that nobody waits any more, nor of calls that were cut short.
    Raises InvalidArgumentError.
    """
    pairs = _Pairs()
    for message in await _last_turn(storage, in_front):
        pairs.add(message)
    answers = [call_id for call_id in map(pairs.add, inputs) if call_id is not None]
    if answers:
        before = await storage.all_messages(in_front) if isinstance(in_front, str) else in_front
        called = _called(before)
        for call_id in answers:
            if call_id not in called:
                raise _unpaired(f"No tool call found for function call output with call_id {call_id}.")
    if pairs.waiting and not calls_may_wait:
        raise _unpaired(f"No tool output found for function call {next(iter(pairs.waiting))}.")


class _Pairs:
    """Which calls were made, and which of them wait for their output; oldest first."""

    def __init__(self) -> None:
        self._made: set[str] = set()
        self.waiting: dict[str, None] = {}

    def add(self, message: messages_pb2.Message) -> str | None:
        """Hear the next message. Answers the call of an output if it was not made so far."""
        part = function_part(message)
        if part is None or not part.get("call_id"):  # an output that nobody asked for has no call
            return None
        call_id = str(part["call_id"])
        if part["type"] != FUNCTION_CALL:
            self.waiting.pop(call_id, None)
            return None if call_id in self._made else call_id
        self._made.add(call_id)
        if message.status == messages_pb2.MESSAGE_STATUS_COMPLETED:
            self.waiting[call_id] = None
        return None


async def _last_turn(
    storage: StorageClient, in_front: str | Sequence[messages_pb2.Message]
) -> list[messages_pb2.Message]:
    """What stands behind what a person said last, oldest first."""
    if not isinstance(in_front, str):
        return _behind_person(in_front[::-1])[0][::-1]
    turn: list[messages_pb2.Message] = []
    after = ""
    while True:
        page = paging_pb2.PageRequest(page_size=_PAGE_SIZE, order=paging_pb2.ORDER_DESC, after=after)
        newest = await storage.list_messages(messages_pb2.ListMessagesRequest(thread_id=in_front, page=page))
        found, is_whole = _behind_person(newest.messages)
        turn += found
        if is_whole or not newest.has_more:
            return turn[::-1]
        after = newest.messages[-1].id


def _behind_person(newest_first: Sequence[messages_pb2.Message]) -> tuple[list[messages_pb2.Message], bool]:
    """The messages in front of the first one of a person's, and whether there is one."""
    for place, message in enumerate(newest_first):
        if message.role in _PERSONS:
            return list(newest_first[:place]), True
    return list(newest_first), False


def _called(messages: Iterable[messages_pb2.Message]) -> set[str]:
    parts = map(function_part, messages)
    return {part["call_id"] for part in parts if part is not None and part["type"] == FUNCTION_CALL}


def _unpaired(message: str) -> InvalidArgumentError:
    return InvalidArgumentError(message, param=_PARAM)

"""A stream of appends takes what it has room for, and lets go of what has not begun when its caller leaves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from jan.storage.limits import MOST_APPEND_BYTES, MOST_APPENDS
from jan.storage.v1 import messages_pb2 as pb
from storage_service.servicers.appends import AppendStream


class Gate:
    """Appends that last until a test lets them through, and the most that ever ran at once."""

    def __init__(self) -> None:
        self.running: list[asyncio.Event] = []
        self.begun = 0
        self.most = 0

    async def append(self, message: pb.Message) -> pb.Message:
        let_through = asyncio.Event()
        self.running.append(let_through)
        self.begun += 1
        self.most = max(self.most, len(self.running))
        try:
            await let_through.wait()
        finally:
            self.running.remove(let_through)
        return message

    def let_through(self, count: int) -> None:
        for one in self.running[:count]:
            one.set()


def request(first: int, count: int, content: str = "") -> pb.AppendMessagesRequest:
    message = pb.Message(id="msg_1", content_json=content)
    return pb.AppendMessagesRequest(
        appends=[pb.MessageAppend(number=first + number, message=message) for number in range(count)]
    )


async def sent(*requests: pb.AppendMessagesRequest) -> AsyncIterator[pb.AppendMessagesRequest]:
    for one in requests:
        yield one


async def settled() -> None:
    """Give every task that can go on its turn."""
    for _ in range(10):
        await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("requests", "room"),
    [
        ([request(0, MOST_APPENDS + 50)], MOST_APPENDS),
        ([request(0, MOST_APPENDS), request(MOST_APPENDS, 50)], MOST_APPENDS),
        ([request(number, 1, "x" * (MOST_APPEND_BYTES // 4 - 100)) for number in range(10)], 4),
        ([request(number, 1, "x" * (MOST_APPEND_BYTES + 1)) for number in range(3)], 1),
    ],
)
async def test_no_more_is_under_way_than_there_is_room_for(requests: list[pb.AppendMessagesRequest], room: int) -> None:
    gate = Gate()
    total = sum(len(one.appends) for one in requests)
    answered: list[int] = []
    async with aclosing(AppendStream(gate.append, asyncio.Event()).outcomes(sent(*requests))) as responses:
        reading = asyncio.create_task(read(responses, answered), name="read outcomes")
        await settled()
        assert gate.begun == room
        gate.let_through(1)
        await settled()
        assert gate.begun == min(room + 1, total)
        while not reading.done():
            gate.let_through(room)
            await settled()
        await reading
    assert sorted(answered) == list(range(total))
    assert gate.most == room


async def read(responses: AsyncIterator[pb.AppendMessagesResponse], answered: list[int]) -> None:
    async for response in responses:
        answered += [outcome.number for outcome in response.outcomes]


async def test_what_is_withdrawn_ends_and_is_answered_with_nothing() -> None:
    gate = Gate()
    requests = sent(request(0, 3), pb.AppendMessagesRequest(withdrawn=[1, 99]))
    async with aclosing(AppendStream(gate.append, asyncio.Event()).outcomes(requests)) as responses:
        [withdrawn] = (await anext(responses)).outcomes
        assert withdrawn == pb.AppendOutcome(number=1)
        gate.let_through(2)
        [first, last] = (await anext(responses)).outcomes
        assert [first.message.id, last.message.id] == ["msg_1", "msg_1"]
        assert {first.number, last.number} == {0, 2}
        with pytest.raises(StopAsyncIteration):
            await anext(responses)


async def test_a_caller_that_leaves_takes_everything_with_it_at_once() -> None:
    gate = Gate()
    async with aclosing(AppendStream(gate.append, asyncio.Event()).outcomes(sent(request(0, 3)))) as responses:
        waiting = asyncio.create_task(anext(responses), name="read one")
        await settled()
        waiting.cancel()
        await asyncio.wait([waiting])
        assert gate.running == []
    assert gate.begun == 3


async def test_told_to_stop_it_hears_no_more_and_answers_what_it_took() -> None:
    gate, stop = Gate(), asyncio.Event()

    async def silent() -> AsyncIterator[pb.AppendMessagesRequest]:
        yield request(0, 1)
        await asyncio.Event().wait()

    answered: list[int] = []
    async with aclosing(AppendStream(gate.append, stop).outcomes(silent())) as responses:
        reading = asyncio.create_task(read(responses, answered), name="read outcomes")
        await settled()
        stop.set()
        await settled()
        assert not reading.done()
        gate.let_through(1)
        await reading
    assert answered == [0]

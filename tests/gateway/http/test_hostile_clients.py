"""Clients that never read, and clients that send a byte at a time: bounded, let go at their deadline, and nobody waits.

The full numbers, with the memory of each process, are those of `make chaos-clients` (docs/chaos.md).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from contextlib import AsyncExitStack
from urllib.parse import urlsplit

import pytest

from gateway.keys import FOLLOWER
from jan import keys
from jan.queue.subscription import MAX_PENDING_BYTES, LogEntry, LogSubscription
from tests.fixtures.gateway import Gateway
from tests.fixtures.worker import ScriptedWorker, TakenByTest
from tests.gateway.http.test_slow_readers import PIECE, ask, connected
from tests.gateway.routes.test_runs import new_thread

READERS = 60
DRIPPERS = 60
# What a reader leaves unread is more than it may, by as much as its sockets and the gateway's writer hold at most.
PIECES = (MAX_PENDING_BYTES + 1024 * 1024) // len(PIECE)
CHAT_HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


async def is_served(gateway: Gateway) -> None:
    """Somebody else asks, and is answered."""
    async with gateway.client.get("/v1/models") as answer:
        assert answer.status == 200


class Deliveries:
    """Watches what readers are given: the most that one of them left unread."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.most_pending_bytes = 0
        self._more = asyncio.Event()
        deliver = LogSubscription.deliver

        def deliver_and_tell(subscription: LogSubscription, entries: list[LogEntry]) -> None:
            deliver(subscription, entries)
            self.most_pending_bytes = max(self.most_pending_bytes, subscription._pending_bytes)
            self._more.set()
            self._more = asyncio.Event()

        monkeypatch.setattr(LogSubscription, "deliver", deliver_and_tell)

    async def until(self, subscription: LogSubscription, number: int) -> None:
        """Wait until a reader was given an event, or is dropped."""
        while not subscription.is_dropped and subscription.cursor < number:
            await self._more.wait()


@pytest.mark.slow
async def test_readers_that_never_read_cost_a_bounded_amount_each(
    gateway: Gateway, worker: ScriptedWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.http.sse.LAST_WORDS_SECONDS", 0.5)
    deliveries = Deliveries(monkeypatch)
    async with AsyncExitStack() as stack:
        for _ in range(READERS):
            await ask(await stack.enter_async_context(connected(gateway)))
        jobs = [await worker.take() for _ in range(READERS)]
        await asyncio.gather(*(say_more_than_may_wait(gateway, job, deliveries) for job in jobs))
        await is_served(gateway)
        assert deliveries.most_pending_bytes <= MAX_PENDING_BYTES + 2 * len(PIECE)
    await asyncio.gather(*(job.until_cancelled() for job in jobs))


async def say_more_than_may_wait(gateway: Gateway, job: TakenByTest, deliveries: Deliveries) -> None:
    """Speak until the reader must be dropped."""
    await job.begin()
    [subscription] = gateway.app[FOLLOWER]._subscriptions[keys.log(job.job.id)]
    for _ in range(PIECES):
        await job.say(PIECE)
        await deliveries.until(subscription, job.published)
        if subscription.is_dropped:
            return
    raise AssertionError("it may leave unread what it likes")


async def test_a_stream_that_nobody_reads_ends_at_its_deadline(
    gateway: Gateway, worker: ScriptedWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Too little is said for the bound on bytes."""
    monkeypatch.setattr("gateway.http.sse.WRITE_SECONDS", 0.3)
    async with connected(gateway) as client:
        await ask(client)
        job = await worker.take()
        await job.begin()
        await job.say(*[PIECE] * 8)
        await job.until_cancelled()
        await is_served(gateway)


async def test_a_whole_answer_that_nobody_reads_is_given_up(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.http.server.UNREAD_SECONDS", 0.3)
    thread_id = await new_thread(gateway, *[PIECE] * 12)
    async with connected(gateway) as client:
        request = f"GET /v1/threads/{thread_id}/messages HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
        await asyncio.get_running_loop().sock_sendall(client, request)
        while not unread_bytes(gateway):
            await is_served(gateway)
        while unread_bytes(gateway):
            await is_served(gateway)


def unread_bytes(gateway: Gateway) -> int:
    """What connections hold for clients that do not read."""
    transports = [connection.transport for connection in gateway.connections]
    return sum(transport.get_write_buffer_size() for transport in transports if transport is not None)


async def test_a_client_that_reads_slowly_gets_its_whole_answer(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes a few bytes of many between two looks."""
    monkeypatch.setattr("gateway.http.server.UNREAD_SECONDS", 0.5)
    thread_id = await new_thread(gateway, *[PIECE] * 12)
    heard = 0
    async with connected(gateway) as client:
        request = (
            f"GET /v1/threads/{thread_id}/messages HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
        )
        await asyncio.get_running_loop().sock_sendall(client, request)
        while data := await asyncio.get_running_loop().sock_recv(client, 16 * 1024):
            heard += len(data)
            await asyncio.sleep(0.01)
    assert heard > 12 * len(PIECE)


async def drip(gateway: Gateway, before: bytes, dripped: bytes) -> bytes:
    """Send `before` at once and the rest byte by byte, until the gateway closes; what it said."""
    address = urlsplit(gateway.url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    heard = asyncio.create_task(hear(reader))
    with contextlib.suppress(ConnectionError):
        writer.write(before)
        for byte in dripped:
            writer.write(bytes([byte]))
            await writer.drain()
            if (await asyncio.wait({heard}, timeout=0.02))[0]:
                break
    said = await heard
    writer.transport.abort()
    return said


async def hear(reader: asyncio.StreamReader) -> bytes:
    """All that comes; a connection may be reset in the end, for bytes were on their way to it."""
    said = b""
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(2**16):
            said += data
    return said


async def beside_others(gateway: Gateway, before: bytes, dripped: bytes) -> list[bytes]:
    """Many drip at once, while others are served; what the gateway said to each."""
    drippers = [asyncio.create_task(drip(gateway, before, dripped)) for _ in range(DRIPPERS)]
    dripping = asyncio.gather(*drippers)
    while not dripping.done():
        await is_served(gateway)
    return await dripping


@pytest.mark.slow
@pytest.mark.parametrize("served", [b"", b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"], ids=["first", "later"])
async def test_others_are_served_beside_heads_that_come_byte_by_byte(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, served: bytes
) -> None:
    """The head is never whole before its deadline, be it a connection's first or a later one."""
    monkeypatch.setattr("gateway.http.server.HEAD_SECONDS", 1.0)
    heard = await beside_others(gateway, served, b"GET /v1/models HTTP/1.1\r\nX: " + b"x" * 5000)
    assert all(said.count(b"HTTP/1.1 200") == bool(served) for said in heard)
    await until_only_ours_is_open(gateway)


@pytest.mark.slow
async def test_others_are_served_beside_bodies_that_come_byte_by_byte(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.http.body.BODY_SECONDS", 0.5)
    body = json.dumps({"model": "x" * 5000}).encode()
    head = CHAT_HEAD + b"Content-Length: %d\r\n\r\n" % len(body)
    heard = await beside_others(gateway, head, body)
    assert all(b"did not arrive within" in said for said in heard)
    await until_only_ours_is_open(gateway)


async def until_only_ours_is_open(gateway: Gateway) -> None:
    """Wait until nothing is left of the others."""
    while len(gateway.connections) > 1:
        await is_served(gateway)

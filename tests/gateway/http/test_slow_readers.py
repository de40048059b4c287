"""Readers that do not read: dropped with a word if they can hear one, in bounded memory, and nobody waits for them."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest

from gateway.http.retries import SHOULD_RETRY
from gateway.keys import FOLLOWER
from jan import keys
from jan.queue import subscription
from jan.queue.leases import LeaseState
from jan.queue.subscription import LogSubscription
from tests.fixtures.gateway import MODEL_ID, Gateway
from tests.fixtures.worker import ScriptedWorker, TakenByTest
from tests.gateway.routes.test_runs import new_thread, start, texts, until_ended

READERS = 6
PIECE = "x" * 64 * 1024
# More than both ends' sockets and the gateway hold of a stream: whoever has not read so much is dropped.
MAX_PIECES = 256


@asynccontextmanager
async def connected(gateway: Gateway) -> AsyncIterator[socket.socket]:
    """A connection whose receiving side holds next to nothing."""
    address = urlsplit(gateway.url)
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setblocking(False)
        await asyncio.get_running_loop().sock_connect(client, (address.hostname, address.port))
        yield client


async def ask(
    client: socket.socket,
    path: str = "/v1/chat/completions",
    fields: Mapping[str, Any] = MappingProxyType({"messages": [{"role": "user", "content": "Hi"}]}),
) -> None:
    body = json.dumps({"model": MODEL_ID, "stream": True, **fields})
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    request = f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode()
    await asyncio.get_running_loop().sock_sendall(client, request)


async def say_until_cancelled(job: TakenByTest) -> None:
    """Speak until the gateway drops the reader and cancels the job.

    Bounded: a gateway that is kept from reading for a while is told nothing faster, and Redis holds all of it.
    """
    await job.begin()
    for _ in range(MAX_PIECES):
        if await job.state() is not LeaseState.HELD:
            break
        await job.say(PIECE)
    await job.until_cancelled()


async def test_a_reader_that_falls_behind_is_told_and_its_job_ends(
    gateway: Gateway, worker: ScriptedWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscription, "MAX_PENDING_BYTES", 256 * 1024)
    async with connected(gateway) as client:
        await ask(client)
        await say_until_cancelled_when_dropped(await worker.take(), gateway)
        heard = b""
        while data := await asyncio.get_running_loop().sock_recv(client, 2**20):
            heard += data
            if heard.endswith(b"0\r\n\r\n"):
                break
    assert b'"code":"slow_reader"' in heard[-500:]
    assert b"[DONE]" not in heard


async def say_until_cancelled_when_dropped(job: TakenByTest, gateway: Gateway) -> None:
    await job.begin()
    subscription = subscription_of(gateway, job)
    for _ in range(MAX_PIECES):
        if subscription.is_dropped:
            return
        await job.say(PIECE)
        async with gateway.client.get("/healthz"):  # meanwhile the gateway writes what its sockets take
            pass
    raise AssertionError("a reader that reads nothing was not dropped")


def subscription_of(gateway: Gateway, job: TakenByTest) -> LogSubscription:
    """Through which the gateway reads what the job says."""
    return next(iter(gateway.app[FOLLOWER]._subscriptions[keys.log(job.job.id)]))


each_unstored = pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "Hi"}]}),
        ("/v1/completions", {"prompt": "Hi"}),
        ("/v1/responses", {"input": "Hi", "store": False}),
        ("/v1/messages", {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 5}),
    ],
)


@each_unstored
async def test_a_dropped_reader_is_not_waited_for_as_a_slow_one_is(
    gateway: Gateway, worker: ScriptedWorker, monkeypatch: pytest.MonkeyPatch, path: str, fields: dict[str, Any]
) -> None:
    """It holds an engine's slot, for an answer that nobody will be told."""
    monkeypatch.setattr(subscription, "MAX_PENDING_BYTES", 256 * 1024)
    monkeypatch.setattr("gateway.http.sse.WRITE_SECONDS", 3600.0)
    monkeypatch.setattr("gateway.http.sse.LAST_WORDS_SECONDS", 0.1)
    async with connected(gateway) as client:
        await ask(client, path, fields)
        job = await worker.take()
        await say_until_cancelled_when_dropped(job, gateway)
        await job.until_cancelled()


@each_unstored
async def test_a_whole_answer_that_the_gateway_did_not_read_in_time_may_be_asked_for_again(
    gateway: Gateway, worker: ScriptedWorker, path: str, fields: dict[str, Any]
) -> None:
    async def asked() -> tuple[int, str | None, str | None, str]:
        async with gateway.client.post(path, json={"model": MODEL_ID, **fields}) as answer:
            told = (await answer.json())["error"]
            return answer.status, answer.headers.get("Retry-After"), answer.headers.get(SHOULD_RETRY), told["message"]

    asking = asyncio.create_task(asked())
    job = await worker.take()
    subscription_of(gateway, job).drop()
    message = "The answer came faster than it was read here; send the request again."
    # In Anthropic's form 503 is 529.
    assert await asking == (529 if path == "/v1/messages" else 503, "1", None, message)
    await job.until_cancelled()


async def test_readers_that_never_read_hold_nobody_up(
    gateway: Gateway, worker: ScriptedWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What they cost in memory is printed: `pytest -s -k never_read`."""
    monkeypatch.setattr("gateway.http.sse.WRITE_SECONDS", 1.0)
    before = psutil.Process().memory_info().rss
    async with AsyncExitStack() as stack:
        for _ in range(READERS):
            await ask(await stack.enter_async_context(connected(gateway)))
        speaking = [asyncio.create_task(say_until_cancelled(await worker.take())) for _ in range(READERS)]
        thread_id = await new_thread(gateway, "Hi")
        run = await start(gateway, thread_id)
        others = await worker.take()
        await others.begin()
        await others.say("heard")
        await others.finish()
        assert (await until_ended(gateway, run))["status"] == "completed"
        assert await texts(gateway, thread_id) == [("user", "Hi"), ("assistant", "heard")]
        peak = psutil.Process().memory_info().rss
        await asyncio.gather(*speaking)
    print(f"{READERS} readers that never read: +{(peak - before) / 2**20:.0f} MiB, tests and worker included")

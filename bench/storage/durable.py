"""Durable messages a second, one message a call: over gRPC and over HTTP, beside what the disk can do."""

import json
import os
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp

from bench.storage.measures import SECONDS, rate, tell
from bench.storage.service import Service, cpu_seconds_of, whole_product
from jan.storage.v1 import messages_pb2, threads_pb2
from tests.fixtures.stack import Stack

CLIENTS = (1, 16, 64)
TEXT = "What would a week in Rome cost?"
PROCESSES = ("storage_service", "gateway")
CONTENT = json.dumps([{"type": "text", "text": {"value": TEXT, "annotations": []}}])
COLUMNS = ["clients", "disk's floor", "gRPC, own threads", "gRPC, one thread", "HTTP, own threads", "HTTP, one thread"]


async def measure(folder: Path) -> None:
    """Clients with a thread each, and clients that share one."""
    floors = [disk_floor(folder, clients) for clients in CLIENTS]
    grpc = await grpc_rates(folder)
    costs: list[list[object]] = []
    with whole_product() as stack:
        http = await http_rates(stack, costs)
    rows = zip(CLIENTS, floors, *grpc, *http, strict=True)
    tell("Durable messages/s", COLUMNS, [[clients, *(f"{one:,.0f}" for one in rates)] for clients, *rates in rows])
    tell("Processor time of a message over HTTP, us", ["clients", "threads", *PROCESSES], costs)


def disk_floor(folder: Path, writers: int) -> float:
    """Lines a second that the disk makes durable: each writer appends to a file of its own and calls fsync."""
    line = b"x" * 400 + b"\n"
    counts = [0] * writers
    end = time.perf_counter() + SECONDS

    def write(number: int) -> None:
        fd = os.open(folder / f"floor-{number}", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        while time.perf_counter() < end:
            os.write(fd, line)
            os.fsync(fd)
            counts[number] += 1
        os.close(fd)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(writers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / SECONDS


async def grpc_rates(folder: Path) -> tuple[list[float], list[float]]:
    """For each number of clients: with a thread each, and with one for all."""
    async with Service(folder, folder / "grpc") as service:
        made = [await service.threads.CreateThread(threads_pb2.CreateThreadRequest()) for _ in range(max(CLIENTS))]
        ids = [one.thread.id for one in made]

        def posting(label: str, thread_ids: list[str]) -> Callable[[int, int], Awaitable[object]]:
            def post(number: int, count: int) -> Awaitable[object]:
                message = messages_pb2.Message(
                    id=f"msg_{label}_{number}_{count}",
                    thread_id=thread_ids[number % len(thread_ids)],
                    role=messages_pb2.MESSAGE_ROLE_USER,
                    content_json=CONTENT,
                )
                return service.messages.CreateMessage(messages_pb2.CreateMessageRequest(message=message))

            return post

        own = [await rate(clients, posting(f"own{clients}", ids)) for clients in CLIENTS]
        one = [await rate(clients, posting(f"one{clients}", ids[:1])) for clients in CLIENTS]
        return own, one


async def http_rates(stack: Stack, costs: list[list[object]]) -> tuple[list[float], list[float]]:
    """The same through the gateway; `costs` gets a row for each, with the processor time that a message took."""

    async def costed(clients: int, threads: str, post: Callable[[int, int], Awaitable[object]]) -> float:
        before = [cpu_seconds_of(stack.processes[name].pid) for name in PROCESSES]
        reached = await rate(clients, post)
        after = [cpu_seconds_of(stack.processes[name].pid) for name in PROCESSES]
        took = [(end - start) / (reached * SECONDS) * 1e6 for start, end in zip(before, after, strict=True)]
        costs.append([clients, threads, *(f"{one:,.0f}" for one in took)])
        return reached

    async with aiohttp.ClientSession(stack.url, connector=aiohttp.TCPConnector(limit=0)) as session:

        async def ask(path: str, body: object) -> str:
            async with session.post(path, json=body) as answer:
                answer.raise_for_status()
                return str((await answer.json())["id"])

        ids = [await ask("/v1/threads", {}) for _ in range(max(CLIENTS))]

        def posting(thread_ids: list[str]) -> Callable[[int, int], Awaitable[object]]:
            body = {"role": "user", "content": TEXT}
            return lambda number, _: ask(f"/v1/threads/{thread_ids[number % len(thread_ids)]}/messages", body)

        own = [await costed(clients, "own", posting(ids)) for clients in CLIENTS]
        one = [await costed(clients, "one", posting(ids[:1])) for clients in CLIENTS]
        return own, one

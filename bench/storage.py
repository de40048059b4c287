"""What the storage service does in a second, and how long people wait for it, beside what the disk itself can do.

`make bench-storage`. Prints Markdown tables. The load generator runs on the same cores as the services. About five
minutes and 2 GB below the system's folder for temporary files, which must lie on a disk (`TMPDIR`).
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import aiohttp
import psutil
import uvloop
from grpc import aio

from jan import rpc
from jan.storage.v1 import messages_pb2, paging_pb2, threads_pb2
from jan.storage.v1.messages_pb2_grpc import MessageServiceStub
from jan.storage.v1.threads_pb2_grpc import ThreadServiceStub
from tests.fixtures.stack import Stack

SECONDS = 4.0
CLIENTS = (1, 16, 64)
SIZES = (1_000, 10_000, 100_000)
LONG_THREAD = 100_000
MESSAGES_PER_THREAD = 100
SEARCHED_THREADS = 10_000
FIRST_SECOND = 1_704_504_633
WORDS = (Path(__file__).parent / "storage.py").read_text().split()
CONTENT = json.dumps([{"type": "text", "text": {"value": "What would a week in Rome cost?", "annotations": []}}])


class Service:
    """A storage service on a janroot, and a channel to it."""

    def __init__(self, folder: Path, janroot: Path) -> None:
        self.address = f"unix:{folder}/s.sock"
        self.environment = os.environ | {
            "JANROOT_PATH": str(janroot),
            "JANROOT_RUN_DIR": str(folder),
            "JANROOT_STORAGE_ADDR": self.address,
        }

    async def __aenter__(self) -> Service:
        began = time.perf_counter()
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "storage_service", env=self.environment, stderr=subprocess.DEVNULL
        )
        self.channel = rpc.open_channel(self.address)
        await until(lambda: rpc.is_serving(self.channel))
        self.ready_seconds = time.perf_counter() - began
        self.threads, self.messages = ThreadServiceStub(self.channel), MessageServiceStub(self.channel)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.channel.close()
        self.process.send_signal(signal.SIGTERM)
        await self.process.wait()

    def memory_mb(self) -> int:
        """The resident memory of the service and its helper."""
        process = psutil.Process(self.process.pid)
        return int(sum(one.memory_info().rss for one in [process, *process.children()]) / 1e6)


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Ask until the answer is yes."""
    while not await condition():  # noqa: ASYNC110  another process tells nobody
        await asyncio.sleep(0.02)


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


async def rate(clients: int, post: Callable[[int, int], Awaitable[object]]) -> float:
    """Calls a second that several clients get together, each waiting for its answer."""
    end = time.perf_counter() + SECONDS

    async def client(number: int) -> int:
        count = 0
        while time.perf_counter() < end:
            await post(number, count)
            count += 1
        return count

    return sum(await asyncio.gather(*map(client, range(clients)))) / SECONDS


async def grpc_rates(folder: Path) -> list[float]:
    """Durable messages a second over gRPC, each client on a thread of its own."""
    async with Service(folder, folder / "grpc") as service:
        made = [await service.threads.CreateThread(threads_pb2.CreateThreadRequest()) for _ in range(max(CLIENTS))]

        def posting(clients: int) -> Callable[[int, int], Awaitable[object]]:
            def post(number: int, count: int) -> Awaitable[object]:
                message = messages_pb2.Message(
                    id=f"msg_{clients}_{number}_{count}",
                    thread_id=made[number].thread.id,
                    role=messages_pb2.MESSAGE_ROLE_USER,
                    content_json=CONTENT,
                )
                return service.messages.CreateMessage(messages_pb2.CreateMessageRequest(message=message))

            return post

        return [await rate(clients, posting(clients)) for clients in CLIENTS]


async def http_rates(url: str) -> list[float]:
    """Durable messages a second over HTTP, through the gateway."""
    async with aiohttp.ClientSession(url, connector=aiohttp.TCPConnector(limit=0)) as session:

        async def ask(path: str, body: object) -> str:
            async with session.post(path, json=body) as answer:
                answer.raise_for_status()
                return str((await answer.json())["id"])

        made = [await ask("/v1/threads", {}) for _ in range(max(CLIENTS))]
        body = {"role": "user", "content": "What would a week in Rome cost?"}
        return [
            await rate(clients, lambda number, _: ask(f"/v1/threads/{made[number]}/messages", body))
            for clients in CLIENTS
        ]


@contextmanager
def whole_product() -> Iterator[str]:
    """All four processes; their address."""
    with tempfile.TemporaryDirectory(prefix="jan-bench-") as folder:
        stack = Stack(Path(folder))
        try:
            stack.start_all()
            yield stack.url
        finally:
            stack.stop_all()


def write_thread(janroot: Path, number: int, messages: int) -> str:
    """A thread as Jan writes it, without waiting for the disk; its id."""
    second = FIRST_SECOND + number
    folder = janroot / "threads" / f"jan_{second}"
    folder.mkdir(parents=True)
    thread = {"id": folder.name, "title": f"Trip {number}", "assistants": [], "created": second * 1000}
    (folder / "thread.json").write_text(json.dumps(thread))
    with (folder / "messages.jsonl").open("w") as file:
        for index in range(messages):
            place = (number * 7919 + index * 31) % len(WORDS)
            text = " ".join(WORDS[place : place + 12]) + f" n{number} m{number * messages + index}"
            message = {
                "id": f"msg_{number}_{index}",
                "role": "user",
                "created": second * 1000 + index,
                "content": [{"type": "text", "text": {"value": text, "annotations": []}}],
            }
            file.write(json.dumps(message) + "\n")
    return folder.name


async def waits(call: Callable[[], Awaitable[object]], times: int = 300) -> str:
    """Median and 99th percentile of a call, in milliseconds."""
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        await call()
        taken.append((time.perf_counter() - began) * 1000)
    taken.sort()
    return f"{taken[times // 2]:.1f} / {taken[times * 99 // 100]:.1f}"


def page(after: str = "", order: paging_pb2.Order.ValueType = paging_pb2.ORDER_DESC) -> paging_pb2.PageRequest:
    """A page of 20."""
    return paging_pb2.PageRequest(page_size=20, order=order, after=after)


async def list_row(folder: Path, size: int) -> str:
    """One janroot: starts without and with what the last one left, lists, opens."""
    janroot = folder / f"list-{size}"
    for number in range(size):
        write_thread(janroot, number, 1)
    newest, oldest = f"jan_{FIRST_SECOND + size - 1}", f"jan_{FIRST_SECOND}"
    async with Service(folder, janroot) as service:
        cold = service.ready_seconds
        began = time.perf_counter()

        async def all_found() -> bool:
            return (await listed(service, "", paging_pb2.ORDER_ASC)).threads[0].id == oldest

        await until(all_found)
        known = cold + time.perf_counter() - began
    async with Service(folder, janroot) as service:
        await asyncio.sleep(5 + size / 5_000)  # The first look at all folders, and the watch, are for the start.
        middle = f"jan_{FIRST_SECOND + size // 2}"
        first = await waits(lambda: listed(service, ""))
        inside = await waits(lambda: listed(service, middle))
        opened = await waits(lambda: messages(service, newest))
        memory = service.memory_mb()
        warm = service.ready_seconds
    shutil.rmtree(janroot)
    return f"| {size:,} | {cold:.1f} | {known:.1f} | {warm:.1f} | {first} | {inside} | {opened} | {memory} |"


def listed(
    service: Service, after: str, order: paging_pb2.Order.ValueType = paging_pb2.ORDER_DESC
) -> aio.UnaryUnaryCall[threads_pb2.ListThreadsRequest, threads_pb2.ListThreadsResponse]:
    """A page of threads."""
    return service.threads.ListThreads(threads_pb2.ListThreadsRequest(page=page(after, order)))


def messages(
    service: Service, thread_id: str, after: str = "", order: paging_pb2.Order.ValueType = paging_pb2.ORDER_DESC
) -> aio.UnaryUnaryCall[messages_pb2.ListMessagesRequest, messages_pb2.ListMessagesResponse]:
    """A page of messages."""
    request = messages_pb2.ListMessagesRequest(thread_id=thread_id, page=page(after, order))
    return service.messages.ListMessages(request)


async def long_thread_rows(folder: Path) -> list[str]:
    """A thread of very many messages: the first page after a start, and pages from either end and the middle."""
    janroot = folder / "long"
    thread_id = write_thread(janroot, 0, LONG_THREAD)
    rows = []
    for label in ("never read before", "with its index kept"):
        async with Service(folder, janroot) as service:
            first = (await waits(lambda: messages(service, thread_id), times=1)).split(" / ")[0]
            newest = await waits(lambda: messages(service, thread_id))
            oldest = await waits(lambda: messages(service, thread_id, order=paging_pb2.ORDER_ASC))
            middle = await waits(lambda: messages(service, thread_id, f"msg_0_{LONG_THREAD // 2}"))
        rows.append(f"| {label} | {first} | {newest} | {oldest} | {middle} |")
    return rows


async def search_rows(folder: Path) -> list[str]:
    """Search over a million messages: words that nearly all, some and one of them hold."""
    janroot = folder / "search"
    for number in range(SEARCHED_THREADS):
        write_thread(janroot, number, MESSAGES_PER_THREAD)
    last = f"m{SEARCHED_THREADS * MESSAGES_PER_THREAD // 2}"
    async with Service(folder, janroot) as service:

        def search(
            query: str,
        ) -> aio.UnaryUnaryCall[threads_pb2.SearchThreadsRequest, threads_pb2.SearchThreadsResponse]:
            return service.threads.SearchThreads(threads_pb2.SearchThreadsRequest(query=query, page=page()))

        async def indexed() -> bool:
            return bool((await search(f"n0 m{MESSAGES_PER_THREAD - 1}")).matches and (await search(last)).matches)

        began = time.perf_counter()
        await until(indexed)
        built = time.perf_counter() - began
        common = max(set(filter(str.isalpha, WORDS)), key=WORDS.count)
        queries = {"one message's word": last, "one thread's word": "n77", "the commonest word": common}
        queries["four words"] = f"{common} the messages service"
        rows = [f"| {label} | {await waits(partial(search, query), 100)} |" for label, query in queries.items()]
        size = sum(path.stat().st_size for path in (janroot / ".server" / "index").glob("search*")) / 1e6
    return [*rows, f"| made from nothing, seconds; on disk, MB | {built:.0f}; {size:.0f} |"]


async def durable_table(folder: Path, url: str) -> list[str]:
    """Durable messages a second, beside the disk's floor."""
    floors = [disk_floor(folder, clients) for clients in CLIENTS]
    grpc = await grpc_rates(folder)
    http = await http_rates(url)
    rows = zip(CLIENTS, floors, grpc, http, strict=True)
    return [
        "| clients, each on its own thread | disk's floor | gRPC | HTTP |",
        "|---|---|---|---|",
        *(f"| {clients} | {floor:,.0f} | {one:,.0f} | {two:,.0f} |" for clients, floor, one, two in rows),
    ]


def tell(title: str, lines: list[str]) -> None:
    """Print a table as soon as it is whole."""
    print(f"\n{title}\n", *lines, sep="\n", flush=True)


async def measure(folder: Path) -> None:
    """All but what needs the whole product."""
    head = (
        "| threads | ready, s | all found, s | ready again, s | first page | page inside | open a thread | memory, MB |"
    )
    rows = [await list_row(folder, size) for size in SIZES]
    tell("Lists and opening, milliseconds p50 / p99", [head, "|---" * 8 + "|", *rows])
    head = "| thread of 100,000 messages | first page after a start | newest | oldest | middle |"
    tell("A long thread, milliseconds p50 / p99", [head, "|---" * 5 + "|", *await long_thread_rows(folder)])
    head = "| search in 1,000,000 messages | ms p50 / p99 |"
    tell("Search", [head, "|---" * 2 + "|", *await search_rows(folder)])


def main() -> None:
    """Measure in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="jan-bench-") as name:
        folder = Path(name)
        with whole_product() as url:
            tell("Durable messages/s", uvloop.run(durable_table(folder, url)))
        uvloop.run(measure(folder))


if __name__ == "__main__":
    main()

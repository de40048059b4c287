"""What is measured: a storage service of its own, or the whole product."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from grpc import aio

from jan import rpc
from jan.storage.v1 import messages_pb2, paging_pb2, threads_pb2
from jan.storage.v1.messages_pb2_grpc import MessageServiceStub
from jan.storage.v1.threads_pb2_grpc import ThreadServiceStub
from tests.fixtures.stack import Stack


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
        """The resident memory of the service and its helpers."""
        return int(sum(one.memory_info().rss for one in processes_of(self.process.pid)) / 1e6)

    def cpu_seconds(self) -> float:
        """See `cpu_seconds_of`."""
        return cpu_seconds_of(self.process.pid)

    def list_threads(
        self, after: str = "", order: paging_pb2.Order.ValueType = paging_pb2.ORDER_DESC
    ) -> aio.UnaryUnaryCall[threads_pb2.ListThreadsRequest, threads_pb2.ListThreadsResponse]:
        """A page of threads."""
        return self.threads.ListThreads(threads_pb2.ListThreadsRequest(page=page(after, order)))

    def list_messages(
        self, thread_id: str, after: str = "", order: paging_pb2.Order.ValueType = paging_pb2.ORDER_DESC
    ) -> aio.UnaryUnaryCall[messages_pb2.ListMessagesRequest, messages_pb2.ListMessagesResponse]:
        """A page of messages."""
        request = messages_pb2.ListMessagesRequest(thread_id=thread_id, page=page(after, order))
        return self.messages.ListMessages(request)

    def search(
        self, query: str
    ) -> aio.UnaryUnaryCall[threads_pb2.SearchThreadsRequest, threads_pb2.SearchThreadsResponse]:
        """The best page of what matches."""
        return self.threads.SearchThreads(threads_pb2.SearchThreadsRequest(query=query, page=page()))


def processes_of(pid: int) -> list[psutil.Process]:
    """A service and its helpers."""
    process = psutil.Process(pid)
    return [process, *process.children()]


def cpu_seconds_of(pid: int) -> float:
    """Processor time that a service and its helpers used so far: hardly touched by what else the machine does."""
    times = [one.cpu_times() for one in processes_of(pid)]
    return sum(one.user + one.system for one in times)


def page(after: str = "", order: paging_pb2.Order.ValueType = paging_pb2.ORDER_DESC) -> paging_pb2.PageRequest:
    """A page of 20."""
    return paging_pb2.PageRequest(page_size=20, order=order, after=after)


@contextmanager
def whole_product() -> Iterator[Stack]:
    """All four processes."""
    with tempfile.TemporaryDirectory(prefix="jan-bench-") as folder:
        stack = Stack(Path(folder))
        try:
            stack.start_all()
            yield stack
        finally:
            stack.stop_all()


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Ask until the answer is yes."""
    while not await condition():  # noqa: ASYNC110  another process tells nobody
        await asyncio.sleep(0.02)

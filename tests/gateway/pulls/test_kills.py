"""kill -9 in the middle of a download: it goes on where it stopped, and what is fetched again is counted."""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from gateway.convert.pulls import ENDED
from gateway.pulls.client import PullClient
from jan.storage.v1 import pulls_pb2
from storage_service.store.pulls.part import SYNC_BYTES
from tests.fixtures.gateway import Gateway, running_gateway
from tests.fixtures.model_host import HostedFile, ModelHost
from tests.fixtures.redis import RedisServer
from tests.fixtures.stack import free_port
from tests.fixtures.storage import StorageServer
from tests.fixtures.storage_process import Service
from tests.fixtures.tiny_models import tiny_gguf
from tests.gateway.pulls.conftest import downloads_from

MIB = 2**20
GGUF = tiny_gguf(40 * MIB)
# Past the first 16 MiB, and no multiple of them.
HELD = 24 * MIB


@asynccontextmanager
async def gateway_process(redis: RedisServer, address: str, host: ModelHost) -> AsyncIterator[Process]:
    """A gateway that can be killed."""
    environment = os.environ | {
        "JANROOT_RUN_DIR": str(redis.folder),
        "JANROOT_REDIS_URL": redis.url,
        "JANROOT_STORAGE_ADDR": address,
        "JANROOT_PORT": str(free_port()),
        "PYTHONPATH": os.pathsep.join(sys.path),
        **downloads_from(host),
    }
    # A file: a gateway with much to say would wait for the reader of a pipe.
    with (redis.folder / "gateway.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(sys.executable, "-m", "gateway", env=environment, stderr=log)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def received(pulls: PullClient, pull_id: str, least: int) -> None:
    """Wait until storage has so much of the file."""
    while (await pulls.get(pull_id)).files[0].received_bytes < least:
        pass


async def ended(pulls: PullClient, pull_id: str) -> pulls_pb2.Pull:
    while True:
        pull = await pulls.get(pull_id)
        if pull.state in ENDED:
            return pull


def begin_request(host: ModelHost) -> pulls_pb2.BeginPullRequest:
    file = pulls_pb2.PullFile(name="a.gguf", url=f"{host.url}/a.gguf", size_bytes=len(GGUF), validator='"1"')
    return pulls_pb2.BeginPullRequest(model_id="a", source="test", files=[file], model_json='{"id":"a"}')


def hosted(host: ModelHost) -> HostedFile:
    return host.add("/a.gguf", GGUF, hold_after=HELD)


@pytest.mark.slow
async def test_storage_is_killed(service: Service, redis_server: RedisServer, redis: object, host: ModelHost) -> None:
    hosted(host)
    async with service.running() as (process, channel):
        storage = StorageServer(service.janroot, service.address, channel)
        async with running_gateway(storage, redis_server, **downloads_from(host)) as gateway:
            pulls = PullClient(channel)
            pull = await begin(gateway, host)
            await host.holding.wait()
            await received(pulls, pull, HELD - MIB)
            process.kill()
            await process.communicate()
            async with service.running() as (_, again):
                host.go_on.set()
                assert (await ended(PullClient(again), pull)).state == pulls_pb2.PULL_STATE_COMPLETED
    assert (service.janroot / "models/a/a.gguf").read_bytes() == GGUF
    assert [headers.get("range") for _, headers in host.requests] == ["bytes=0-3", None, f"bytes={SYNC_BYTES}-"]


@pytest.mark.slow
async def test_a_gateway_is_killed_and_another_goes_on(
    storage_server: StorageServer, redis_server: RedisServer, redis: object, host: ModelHost
) -> None:
    file = hosted(host)
    pulls = PullClient(storage_server.channel)
    async with gateway_process(redis_server, storage_server.address, host) as process:
        pull = (await pulls.begin(begin_request(host))).id
        await host.holding.wait()
        await received(pulls, pull, HELD - MIB)
        process.kill()
        await process.wait()
    file.hold_after = None
    async with running_gateway(storage_server, redis_server, **downloads_from(host)):
        assert (await ended(pulls, pull)).state == pulls_pb2.PULL_STATE_COMPLETED
    assert (storage_server.janroot / "models/a/a.gguf").read_bytes() == GGUF
    first, second = [headers.get("range", "") for _, headers in host.requests]
    assert first == ""
    # What was under way at the kill may still have arrived; what had arrived before is not fetched again.
    assert HELD - MIB <= int(second.removeprefix("bytes=").removesuffix("-")) <= HELD


async def test_two_gateways_never_fetch_the_same_file(
    storage_server: StorageServer, redis_server: RedisServer, redis: object, host: ModelHost
) -> None:
    hosted(host).hold_after = None
    async with (
        running_gateway(storage_server, redis_server, **downloads_from(host)) as first,
        running_gateway(storage_server, redis_server, **downloads_from(host)),
    ):
        pull = await begin(first, host)
        assert (await ended(PullClient(storage_server.channel), pull)).state == pulls_pb2.PULL_STATE_COMPLETED
    assert [headers.get("range") for _, headers in host.requests] == ["bytes=0-3", None]


async def begin(gateway: Gateway, host: ModelHost) -> str:
    body = {"model": f"{host.url}/a.gguf"}
    pull: str = (await gateway.json("POST", "/v1/models/pull", body, status=202))["id"]
    return pull

"""Errors, request ids and deadlines across a real gRPC connection."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc import aio

from jan.errors import (
    KINDS,
    DeadlineExceededError,
    InternalError,
    InvalidArgumentError,
    JanError,
    NotFoundError,
    UnavailableError,
)
from jan.inference.v1 import control_pb2, control_pb2_grpc
from jan.rpc import call, is_serving, open_channel, serving
from jan.rpc_errors import OUTCOME_UNKNOWN, from_broken_stream
from jan.telemetry import request_id_var

Answer = Callable[[], Awaitable[control_pb2.ListModelStatusesResponse]]


class Servicer(control_pb2_grpc.ControlServiceServicer):
    """Answers as the test says."""

    def __init__(self) -> None:
        self.answer: Answer = self._empty

    async def ListModelStatuses(self, request: Any, context: Any) -> control_pb2.ListModelStatusesResponse:  # noqa: N802 - gRPC's name
        return await self.answer()

    async def _empty(self) -> control_pb2.ListModelStatusesResponse:
        return control_pb2.ListModelStatusesResponse()

    def register(self, server: aio.Server) -> None:
        control_pb2_grpc.add_ControlServiceServicer_to_server(self, server)

    def raises(self, error: Exception) -> None:
        async def answer() -> control_pb2.ListModelStatusesResponse:
            raise error

        self.answer = answer


@pytest.fixture
def address() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="jan-rpc-") as folder:
        yield f"unix:{Path(folder)}/s.sock"


@pytest.fixture
async def servicer(address: str) -> AsyncIterator[Servicer]:
    servicer = Servicer()  # type: ignore[abstract]  # one method is enough
    async with serving(address, servicer.register):
        yield servicer


@pytest.fixture
async def channel(address: str) -> AsyncIterator[aio.Channel]:
    async with open_channel(address) as channel:
        yield channel


async def ask(channel: aio.Channel, deadline_seconds: float = 5) -> control_pb2.ListModelStatusesResponse:
    stub = control_pb2_grpc.ControlServiceStub(channel)
    return await call(stub.ListModelStatuses, control_pb2.ListModelStatusesRequest(), deadline_seconds=deadline_seconds)


@pytest.mark.parametrize("error_type", KINDS.values())
async def test_an_error_arrives_as_it_was_raised(
    servicer: Servicer, channel: aio.Channel, error_type: type[JanError]
) -> None:
    sent = error_type("Zu groß: “x”", code="c", param="messages[0]", retry_after_seconds=7)
    servicer.raises(sent)
    with pytest.raises(error_type) as raised:
        await ask(channel)
    assert type(raised.value) is error_type
    assert vars(raised.value) == vars(sent)


async def test_our_own_mistakes_leave_without_our_insides(servicer: Servicer, channel: aio.Channel) -> None:
    servicer.raises(KeyError("/secret/path"))
    with pytest.raises(InternalError) as raised:
        await ask(channel)
    assert "secret" not in raised.value.message


async def test_the_request_id_comes_along(servicer: Servicer, channel: aio.Channel) -> None:
    seen: list[str] = []

    async def answer() -> control_pb2.ListModelStatusesResponse:
        seen.append(request_id_var.get())
        return control_pb2.ListModelStatusesResponse()

    servicer.answer = answer
    token = request_id_var.set("req_1")
    await ask(channel)
    request_id_var.reset(token)
    assert seen == ["req_1"]


async def test_a_slow_service_is_told_from_an_absent_one(servicer: Servicer, channel: aio.Channel) -> None:
    async def never() -> control_pb2.ListModelStatusesResponse:
        await asyncio.Event().wait()
        raise AssertionError

    servicer.answer = never
    with pytest.raises(DeadlineExceededError):
        await ask(channel, deadline_seconds=0.05)


async def test_an_absent_service_is_unavailable_at_once(channel: aio.Channel) -> None:
    assert not await is_serving(channel)
    with pytest.raises(UnavailableError):
        await ask(channel)


async def test_the_health_check_answers(servicer: Servicer, channel: aio.Channel) -> None:
    assert await is_serving(channel)


async def test_a_channel_finds_a_service_that_came_back(address: str, channel: aio.Channel) -> None:
    for message in ("first", "second"):
        servicer = Servicer()  # type: ignore[abstract]  # one method is enough
        servicer.raises(NotFoundError(message))
        async with serving(address, servicer.register):
            assert await first_answer(channel) == message


async def first_answer(channel: aio.Channel) -> str:
    """What the service says, as soon as the channel has found it again."""
    while True:
        try:
            await ask(channel)
        except UnavailableError:
            continue
        except NotFoundError as error:
            return error.message


@pytest.mark.parametrize("code", ["UNAVAILABLE", "UNKNOWN", "INTERNAL", "CANCELLED"])
def test_a_service_that_was_killed_in_an_upload_is_unavailable(code: str) -> None:
    error = aio.AioRpcError(grpc.StatusCode[code], aio.Metadata(), aio.Metadata(), "Stream removed")
    broken = from_broken_stream(error, all_said=False)
    assert (type(broken), broken.retry_after_seconds) == (UnavailableError, 1)
    assert from_broken_stream(error, all_said=True).code == OUTCOME_UNKNOWN


def test_an_unknown_kind_reads_as_internal() -> None:
    detail = InvalidArgumentError("x").to_detail()
    detail.kind = "invented_later"
    assert type(JanError.from_detail(detail)) is InternalError

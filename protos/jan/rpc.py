"""gRPC as every service here speaks it: errors, deadlines and request ids handled once.

A handler raises a `JanError`; the caller catches the same `JanError`. Anything else a handler raises is logged once
and leaves as an opaque internal error.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import time
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import grpc
from grpc import aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from jan.backoff import Backoff
from jan.errors import UnavailableError
from jan.rpc_errors import (
    OUTCOME_UNKNOWN,
    UNKNOWN_OUTCOME,
    from_broken_stream,
    from_rpc_error,
    is_away,
    stalled,
    tell,
)
from jan.telemetry import request_id_var

REQUEST_ID_HEADER = "x-request-id"
DEFAULT_DEADLINE_SECONDS = 5.0
# How long a service that is away is asked again before its caller is told: within the 2.5 s of docs/promises.md P9.
PATIENCE_SECONDS = 1.5
# What a service says of a stream of requests that it will hear to the end, as initial metadata.
ACCEPTED = ("jan-accepted", "1")
# How long one piece of a stream may take.
STALL_SECONDS = 30.0
# A message holds at most one thread's worth of new content; pages of 100 long messages must pass too.
MAX_MESSAGE_BYTES = 64 * 1024 * 1024

_OPTIONS: list[tuple[str, int]] = [
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
]

Handler = Callable[[Any, aio.ServicerContext[Any, Any]], Awaitable[Any]]
StreamHandler = Callable[[Any, aio.ServicerContext[Any, Any]], AsyncGenerator[Any, None]]
ResponseT = TypeVar("ResponseT")
RequestT = TypeVar("RequestT")


class ErrorInterceptor(aio.ServerInterceptor):
    """Turns what a handler raises into a status with an `ErrorDetail`, and takes over the caller's request id."""

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Wrap handlers that answer once or take one request; the health service's stream says all it has to say."""
        method = await continuation(handler_call_details)
        if method is None:
            return method
        request_id = _metadata_value(handler_call_details, REQUEST_ID_HEADER)
        name = _method_name(handler_call_details)
        codec = method.request_deserializer, method.response_serializer
        if method.unary_unary is not None:
            answer = _answering_once(cast(Handler, method.unary_unary), request_id, name)
            return grpc.unary_unary_rpc_method_handler(cast(Any, answer), *codec)
        if method.stream_unary is not None:
            answer = _answering_once(cast(Handler, method.stream_unary), request_id, name)
            return grpc.stream_unary_rpc_method_handler(cast(Any, answer), *codec)
        if method.unary_stream is not None and inspect.isasyncgenfunction(method.unary_stream):
            stream = _answering_in_parts(cast(StreamHandler, method.unary_stream), request_id, name)
            return grpc.unary_stream_rpc_method_handler(cast(Any, stream), *codec)
        if method.stream_stream is not None and inspect.isasyncgenfunction(method.stream_stream):
            stream = _answering_in_parts(cast(StreamHandler, method.stream_stream), request_id, name)
            return grpc.stream_stream_rpc_method_handler(cast(Any, stream), *codec)
        return method


def _answering_once(handler: Handler, request_id: str, name: str) -> Handler:
    async def answer(request: Any, context: aio.ServicerContext[Any, Any]) -> Any:
        token = request_id_var.set(request_id)
        try:
            return await handler(request, context)
        except Exception as error:  # noqa: BLE001  one of the three edges that catch all: the caller is told
            end = await tell(context, error, name)
        finally:
            request_id_var.reset(token)
        del context  # See `rpc_errors.tell`.
        raise end

    return answer


def _answering_in_parts(handler: StreamHandler, request_id: str, name: str) -> Handler:
    """The parts are written here rather than by grpc, which forgets a generator whose caller left.

    What that holds open would stay open until Python's collector comes by.
    """

    async def answer(request: Any, context: aio.ServicerContext[Any, Any]) -> None:
        token = request_id_var.set(request_id)
        try:
            async with contextlib.aclosing(handler(request, context)) as parts:
                async for part in parts:
                    await context.write(part)
            return
        except Exception as error:  # noqa: BLE001  one of the three edges that catch all: the caller is told
            end = await tell(context, error, name)
        finally:
            request_id_var.reset(token)
        del context  # See `rpc_errors.tell`.
        raise end

    return answer


@contextlib.asynccontextmanager
async def serving(
    address: str, register: Callable[[aio.Server], None], *, drain_seconds: float = 10.0
) -> AsyncIterator[None]:
    """Serve gRPC with the standard health service while the context is open, then drain.

    address: `unix:/path` or `host:port`. A left-over socket file is replaced: whoever serves holds a lock of its own
    that keeps a second instance away. Raises UnavailableError: the address cannot be bound.
    """
    # Without this two processes may share a TCP port, and each gets some of the calls.
    options = [*_OPTIONS, ("grpc.so_reuseport", 0)]
    server = aio.server(interceptors=[ErrorInterceptor()], options=options)
    register(server)
    health_servicer = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(health_servicer, server)
    if address.startswith("unix:"):
        await asyncio.to_thread(_make_room_for_socket, Path(address.removeprefix("unix:")))
    try:
        server.add_insecure_port(address)
    except RuntimeError as error:
        raise UnavailableError(f"Cannot listen on {address}: {error}") from None
    await server.start()
    await health_servicer.set("", health_pb2.HealthCheckResponse.SERVING)
    try:
        yield
    finally:
        await health_servicer.enter_graceful_shutdown()
        await server.stop(drain_seconds)


def open_channel(address: str) -> aio.Channel:
    """A channel to a service; it connects when first used and again whenever the service comes back."""
    backoff: list[tuple[str, int]] = [
        ("grpc.initial_reconnect_backoff_ms", 50),
        ("grpc.min_reconnect_backoff_ms", 50),
        ("grpc.max_reconnect_backoff_ms", 1000),
    ]
    return aio.insecure_channel(address, options=_OPTIONS + backoff)


async def call(
    method: aio.UnaryUnaryMultiCallable[RequestT, ResponseT],
    request: RequestT,
    *,
    deadline_seconds: float = DEFAULT_DEADLINE_SECONDS,
    repeatable: bool = True,
) -> ResponseT:
    """Call a unary method with a deadline and the current request id.

    A service that is away for a moment, as one that restarts, is asked again for a short time, unless doing the same
    twice would do harm (`repeatable` false): then the error's code is `outcome_unknown`, for it may have been done.
    Raises JanError: what the service raised, or UnavailableError or DeadlineExceededError when it did not answer.
    """
    metadata = ((REQUEST_ID_HEADER, request_id_var.get()),)
    give_up_at = time.monotonic() + PATIENCE_SECONDS
    backoff = Backoff(first_seconds=0.05, most_seconds=0.3)
    while True:
        try:
            return await method(request, timeout=deadline_seconds, metadata=metadata)
        except aio.AioRpcError as error:
            if not is_away(error):
                raise from_rpc_error(error) from None
            if not repeatable:
                raise UnavailableError(UNKNOWN_OUTCOME, code=OUTCOME_UNKNOWN) from None
            if time.monotonic() >= give_up_at:
                raise from_rpc_error(error) from None
        await backoff.wait()


async def upload(
    method: aio.StreamUnaryMultiCallable[RequestT, ResponseT],
    requests: AsyncIterable[RequestT],
    *,
    deadline_seconds: float,
    on_accepted: Callable[[], None] | None = None,
) -> ResponseT:
    """Call a method that takes a stream; its reader's pace is the pace at which `requests` is asked.

    `on_accepted` is called when the service has taken the first request and said `ACCEPTED`; the second is not sent
    before. What `requests` raises breaks the call off and is raised here. A service that refuses later must hear the
    stream out first: what it says in the middle of a write is lost. Raises JanError as `call` does.
    """
    metadata = ((REQUEST_ID_HEADER, request_id_var.get()),)
    running = method(timeout=deadline_seconds, metadata=metadata)
    all_said = False
    try:
        all_said = await _say(running, requests, on_accepted)
        return await running
    except aio.AioRpcError as error:
        raise from_broken_stream(error, all_said=all_said) from None
    except TimeoutError:
        raise stalled() from None
    finally:
        running.cancel()


async def exchange(
    method: aio.StreamStreamMultiCallable[RequestT, ResponseT],
    requests: AsyncIterable[RequestT],
    *,
    deadline_seconds: float,
    stall_seconds: float = STALL_SECONDS,
) -> AsyncGenerator[ResponseT, None]:
    """Call a method that hears a stream out and then answers in one; close the generator. See `upload`, `download`.

    stall_seconds: how long one part of the answer may take.
    """
    metadata = ((REQUEST_ID_HEADER, request_id_var.get()),)
    running = method(timeout=deadline_seconds, metadata=metadata)
    all_said = False
    try:
        all_said = await _say(running, requests)
        while True:
            async with asyncio.timeout(stall_seconds):
                part = await running.read()
            if part is aio.EOF:
                return
            yield cast(ResponseT, part)
    except aio.AioRpcError as error:
        raise from_broken_stream(error, all_said=all_said) from None
    except TimeoutError:
        raise stalled() from None
    finally:
        running.cancel()


async def _say(
    running: aio.StreamUnaryCall[RequestT, ResponseT] | aio.StreamStreamCall[RequestT, ResponseT],
    requests: AsyncIterable[RequestT],
    on_accepted: Callable[[], None] | None = None,
) -> bool:
    """Send a stream; tells whether all of it went. False: the call ended before, and its status says why."""
    try:
        async for request in requests:
            async with asyncio.timeout(STALL_SECONDS):
                await running.write(request)
                if on_accepted is not None:
                    if ACCEPTED not in tuple(await running.initial_metadata()):
                        return False  # refused: nothing more is written, which could hide why
                    on_accepted()
                    on_accepted = None
        await running.done_writing()
    except asyncio.InvalidStateError:
        return False
    return True


async def download(
    method: aio.UnaryStreamMultiCallable[RequestT, ResponseT], request: RequestT, *, deadline_seconds: float
) -> AsyncGenerator[ResponseT, None]:
    """Call a method that answers in a stream, read at the caller's pace; close the generator. Raises as `call` does."""
    metadata = ((REQUEST_ID_HEADER, request_id_var.get()),)
    running = method(request, timeout=deadline_seconds, metadata=metadata)
    try:
        while True:
            async with asyncio.timeout(STALL_SECONDS):
                part = await running.read()
            if part is aio.EOF:
                return
            yield cast(ResponseT, part)
    except aio.AioRpcError as error:
        raise from_rpc_error(error) from None
    except TimeoutError:
        raise stalled() from None
    finally:
        running.cancel()


async def is_serving(channel: aio.Channel, *, deadline_seconds: float = 1.0) -> bool:
    """Ask a service's standard health check; False when it does not answer in time or says no."""
    stub: Any = health_pb2_grpc.HealthStub(channel)  # its stubs know only the generated servicer
    try:
        answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=deadline_seconds)
    except aio.AioRpcError:
        return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def _make_room_for_socket(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)


def _metadata_value(details: grpc.HandlerCallDetails, key: str) -> str:
    for name, value in details.invocation_metadata or ():
        if name == key and isinstance(value, str):
            return value
    return ""


def _method_name(details: grpc.HandlerCallDetails) -> str:
    return str(details.method)

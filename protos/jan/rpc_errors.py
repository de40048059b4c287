"""Our errors on gRPC's wire: a `JanError` as status and trailer, and back. See `jan.rpc`."""

from __future__ import annotations

import contextlib
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from grpc import aio

from jan.errors import (
    ConflictError,
    DeadlineExceededError,
    FailedPreconditionError,
    GoneError,
    InternalError,
    InvalidArgumentError,
    JanError,
    NotFoundError,
    PermissionDeniedError,
    PreconditionFailedError,
    ResourceExhaustedError,
    StorageFullError,
    TooLargeError,
    UnauthenticatedError,
    UnavailableError,
    UnprocessableError,
    UnsupportedMediaTypeError,
)
from jan.telemetry import get_logger
from jan.type.v1.error_pb2 import ErrorDetail

logger = get_logger(__name__)

DETAIL_TRAILER = "jan-error-bin"
# The code of an error after which nobody knows whether the request was done.
OUTCOME_UNKNOWN = "outcome_unknown"
UNKNOWN_OUTCOME = "A part of the server went away over this request; look whether it was done before you send it again."

_STATUS: dict[type[JanError], grpc.StatusCode] = {
    InvalidArgumentError: grpc.StatusCode.INVALID_ARGUMENT,
    UnauthenticatedError: grpc.StatusCode.UNAUTHENTICATED,
    PermissionDeniedError: grpc.StatusCode.PERMISSION_DENIED,
    NotFoundError: grpc.StatusCode.NOT_FOUND,
    FailedPreconditionError: grpc.StatusCode.FAILED_PRECONDITION,
    PreconditionFailedError: grpc.StatusCode.FAILED_PRECONDITION,
    ConflictError: grpc.StatusCode.ABORTED,
    GoneError: grpc.StatusCode.NOT_FOUND,
    UnprocessableError: grpc.StatusCode.INVALID_ARGUMENT,
    TooLargeError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    UnsupportedMediaTypeError: grpc.StatusCode.INVALID_ARGUMENT,
    ResourceExhaustedError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    StorageFullError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    UnavailableError: grpc.StatusCode.UNAVAILABLE,
    DeadlineExceededError: grpc.StatusCode.DEADLINE_EXCEEDED,
    InternalError: grpc.StatusCode.INTERNAL,
}

# gRPC's own words for a service that is not there, or is leaving; ours say more than a status.
_AWAY = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
# The same for one that was killed in the middle of a stream.
_KILLED = (*_AWAY, grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL)


async def tell(context: aio.ServicerContext[Any, Any], error: Exception, name: str) -> aio.AbortError:
    """Answer with what a handler raised, from inside its `except`; what is to be raised to gRPC then.

    gRPC keeps that in the call's state, and the frames of its traceback know the call: without them the call is freed
    when it ends, and not at some later collection of garbage.
    """
    if not isinstance(error, aio.AbortError):
        error = await _abort(context, to_tell(error, name))
    error.__context__ = None
    return error.with_traceback(None)


def to_tell(error: Exception, name: str) -> JanError:
    """What the caller of the method `name` is told of an error; one that nobody foresaw is logged here."""
    if isinstance(error, JanError):
        return error
    logger.error("rpc failed", method=name, exc_info=error)
    return InternalError("The service failed on this request.")


async def _abort(context: aio.ServicerContext[Any, Any], error: JanError) -> aio.AbortError:
    trailer = ((DETAIL_TRAILER, error.to_detail().SerializeToString()),)
    try:
        await context.abort(_STATUS[type(error)], error.message, trailer)
    except aio.AbortError as end:
        return end
    raise AssertionError("abort returns only by raising")


def detail_of(error: aio.AioRpcError) -> ErrorDetail | None:
    """What the service itself said, if it was reached."""
    for key, value in error.trailing_metadata() or ():
        if key == DETAIL_TRAILER and isinstance(value, bytes):
            with contextlib.suppress(DecodeError):
                return ErrorDetail.FromString(value)
    return None


def from_rpc_error(error: aio.AioRpcError) -> JanError:
    """The error for a call that failed."""
    detail = detail_of(error)
    if detail is not None:
        return JanError.from_detail(detail)
    match error.code():
        case code if code in _AWAY:
            return UnavailableError("A part of the server is not answering; try again.", retry_after_seconds=1)
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return not_in_time()
        case grpc.StatusCode.RESOURCE_EXHAUSTED:
            return TooLargeError("The request is larger than the services take between them.")
        case _:
            return InternalError("A part of the server failed on this request.")


def is_away(error: aio.AioRpcError) -> bool:
    """Whether a service was not reached, or left while it was asked."""
    return detail_of(error) is None and error.code() in _AWAY


def from_broken_stream(error: aio.AioRpcError, *, all_said: bool) -> JanError:
    """The error for a stream of requests that ended early; `all_said`: it may have been done all the same.

    Our services say more than a status. A bare one of these is gRPC's own word for a service that was killed.
    """
    if detail_of(error) is not None or error.code() not in _KILLED:
        return from_rpc_error(error)
    if all_said:
        return UnavailableError(UNKNOWN_OUTCOME, code=OUTCOME_UNKNOWN)
    return UnavailableError("A part of the server is not answering; try again.", retry_after_seconds=1)


def not_in_time() -> DeadlineExceededError:
    """The error for a service that did not answer before the deadline."""
    return DeadlineExceededError("A part of the server did not answer in time.", retry_after_seconds=1)


def stalled() -> DeadlineExceededError:
    """The error for a stream of which no piece came in time."""
    return DeadlineExceededError("A part of the server stood still in the middle of a file.", retry_after_seconds=1)

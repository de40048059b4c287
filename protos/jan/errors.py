"""The closed list of ways to fail.

A kind is raised where the fact is known, crosses processes as a `jan.type.v1.ErrorDetail` (see `jan.rpc_errors` and the
queue's `Failed` event) and becomes HTTP in one table, `gateway/http/errors.py`. A new way to fail is a class here and a
row there.
"""

from __future__ import annotations

from typing import ClassVar

from jan.type.v1.error_pb2 import ErrorDetail


class JanError(Exception):
    """A failure the caller can be told about.

    message: what happened and what to do next, for the caller's eyes. code: a machine-readable reason finer than the
    kind. param: the request field at fault. retry_after_seconds: how long to wait, 0 when waiting does not help.
    """

    kind: ClassVar[str] = "internal"

    def __init__(self, message: str, *, code: str = "", param: str = "", retry_after_seconds: int = 0) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.param = param
        self.retry_after_seconds = retry_after_seconds

    def to_detail(self) -> ErrorDetail:
        """The failure as it crosses processes."""
        return ErrorDetail(
            kind=self.kind,
            message=self.message,
            code=self.code,
            param=self.param,
            retry_after_seconds=self.retry_after_seconds,
        )

    @staticmethod
    def from_detail(detail: ErrorDetail) -> JanError:
        """The failure as it was raised elsewhere; a kind this build does not know reads as internal."""
        error_type = KINDS.get(detail.kind, InternalError)
        return error_type(
            detail.message,
            code=detail.code,
            param=detail.param,
            retry_after_seconds=detail.retry_after_seconds,
        )


class InvalidArgumentError(JanError):
    """The request can never be served as it stands."""

    kind = "invalid_argument"


class UnauthenticatedError(JanError):
    """No key, or one that nobody has."""

    kind = "unauthenticated"


class PermissionDeniedError(JanError):
    """A known caller may not do this."""

    kind = "permission_denied"


class NotFoundError(JanError):
    """The object does not exist, or not for this caller."""

    kind = "not_found"


class FailedPreconditionError(JanError):
    """The object is in a state that forbids this, for example a busy thread."""

    kind = "failed_precondition"


class PreconditionFailedError(JanError):
    """The object is not in the state that the caller named (`If-Match`); nothing was changed."""

    kind = "precondition_failed"


class ConflictError(JanError):
    """Somebody else wrote first: read again, then decide again."""

    kind = "conflict"


class GoneError(JanError):
    """It was here, and is not kept any longer."""

    kind = "gone"


class UnprocessableError(JanError):
    """The request contradicts an earlier one that it says to repeat."""

    kind = "unprocessable"


class TooLargeError(JanError):
    """The request is larger than its route takes."""

    kind = "too_large"


class UnsupportedMediaTypeError(JanError):
    """The request's content type is not the route's."""

    kind = "unsupported_media_type"


class ResourceExhaustedError(JanError):
    """A limit of the caller or the server is reached for now: a rate, a full queue.

    limit: how many requests may wait, None for another kind of limit. reset_seconds: about how long until all of them
    have begun. Neither crosses processes.
    """

    kind = "resource_exhausted"

    def __init__(
        self,
        message: str,
        *,
        code: str = "",
        param: str = "",
        retry_after_seconds: int = 0,
        limit: int | None = None,
        reset_seconds: int = 0,
    ) -> None:
        super().__init__(message, code=code, param=param, retry_after_seconds=retry_after_seconds)
        self.limit = limit
        self.reset_seconds = reset_seconds


class StorageFullError(JanError):
    """The disk is full; what was asked for is not done, or not to its end where several steps are needed."""

    kind = "storage_full"


class UnavailableError(JanError):
    """A part of the system does not answer now; nothing was changed."""

    kind = "unavailable"


class DeadlineExceededError(JanError):
    """A part of the system did not answer in time; whether it acted is unknown."""

    kind = "deadline_exceeded"


class InternalError(JanError):
    """Our own mistake; the message says nothing of our insides."""

    kind = "internal"


KINDS: dict[str, type[JanError]] = {
    error_type.kind: error_type
    for error_type in (
        InvalidArgumentError,
        UnauthenticatedError,
        PermissionDeniedError,
        NotFoundError,
        FailedPreconditionError,
        PreconditionFailedError,
        ConflictError,
        GoneError,
        UnprocessableError,
        TooLargeError,
        UnsupportedMediaTypeError,
        ResourceExhaustedError,
        StorageFullError,
        UnavailableError,
        DeadlineExceededError,
        InternalError,
    )
}

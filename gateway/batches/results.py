"""What became of a request, as the lines of a batch's files tell it, and keeping that in storage."""

from __future__ import annotations

import asyncio
from enum import Enum
from typing import Protocol

import orjson

from gateway.batches.client import BatchClient
from gateway.http.errors import jan_error_body, status_of
from gateway.schemas.common import JsonObject
from jan.errors import JanError
from jan.ids import Id, RequestId
from jan.storage.v1 import batches_pb2
from jan.type.v1.usage_pb2 import CompletionTokensDetails, Usage

# Results that travel together; one of them may hold an answer of megabytes.
MOST_TOGETHER_BYTES = 16 * 1024 * 1024


class Unanswered(Enum):
    """Why a request never had its turn."""

    EXPIRED = "expired"
    CANCELLED = "cancelled"


_UNANSWERED = {
    Unanswered.EXPIRED: {
        "code": "batch_expired",
        "message": "This request could not be executed before the completion window expired.",
    },
    Unanswered.CANCELLED: {
        "code": "batch_cancelled",
        "message": "The batch was cancelled before this request was executed.",
    },
}


class ResultId(Id):
    """One result of a batch."""

    __slots__ = ()
    kind = "batch result"
    prefix = "batch_req_"


class Results(Protocol):
    """The form of a batch's results."""

    def answered(self, line: int, custom_id: str, request_id: RequestId, answer: bytes) -> batches_pb2.BatchResult:
        """A request that was answered with this body."""

    def refused(self, line: int, custom_id: str, request_id: RequestId, error: JanError) -> batches_pb2.BatchResult:
        """A request that was refused, or that failed."""

    def not_executed(self, line: int, custom_id: str, why: Unanswered) -> batches_pb2.BatchResult:
        """A request whose turn never came."""


class OpenAIResults:
    """OpenAI's form of results."""

    def answered(self, line: int, custom_id: str, request_id: RequestId, answer: bytes) -> batches_pb2.BatchResult:
        """See `Results`."""
        body = orjson.loads(answer)
        response = {"status_code": 200, "request_id": request_id, "body": body}
        return batches_pb2.BatchResult(
            line=line, answered=True, result_json=_line(custom_id, response=response), usage=_usage(body)
        )

    def refused(self, line: int, custom_id: str, request_id: RequestId, error: JanError) -> batches_pb2.BatchResult:
        """See `Results`."""
        body = orjson.loads(jan_error_body(error))
        response = {"status_code": status_of(error), "request_id": request_id, "body": body}
        return batches_pb2.BatchResult(line=line, result_json=_line(custom_id, response=response))

    def not_executed(self, line: int, custom_id: str, why: Unanswered) -> batches_pb2.BatchResult:
        """See `Results`."""
        told = _line(custom_id, error=_UNANSWERED[why])
        return batches_pb2.BatchResult(line=line, result_json=told, skipped=True)


class Recorder:
    """Keeps the results of one batch. Those that come while others are written go together."""

    def __init__(self, client: BatchClient, batch_id: str) -> None:
        self._client = client
        self._batch_id = batch_id
        self._waiting: list[batches_pb2.BatchResult] = []
        self._writing = asyncio.Lock()

    async def keep(self, *results: batches_pb2.BatchResult) -> None:
        """Durable on return, unless another caller of this recorder was told that it failed. Raises JanError."""
        self._waiting += results
        async with self._writing:
            while self._waiting:
                together, size_bytes = [self._waiting.pop(0)], 0
                while (
                    self._waiting and (size_bytes := size_bytes + len(together[-1].result_json)) < MOST_TOGETHER_BYTES
                ):
                    together.append(self._waiting.pop(0))
                await self._client.append(self._batch_id, together)


def _line(custom_id: str, *, response: JsonObject | None = None, error: JsonObject | None = None) -> bytes:
    return orjson.dumps({"id": ResultId.new(), "custom_id": custom_id, "response": response, "error": error})


def _usage(body: JsonObject) -> Usage:
    """What an answer cost, by whichever names its endpoint tells it."""
    told = body.get("usage") or {}
    details = told.get("prompt_tokens_details") or told.get("input_tokens_details") or {}
    written = told.get("completion_tokens_details") or told.get("output_tokens_details") or {}
    return Usage(
        prompt_tokens=told.get("prompt_tokens") or told.get("input_tokens") or 0,
        completion_tokens=told.get("completion_tokens") or told.get("output_tokens") or 0,
        cached_tokens=details.get("cached_tokens") or 0,
        completion_tokens_details=CompletionTokensDetails(reasoning_tokens=written.get("reasoning_tokens") or 0),
    )

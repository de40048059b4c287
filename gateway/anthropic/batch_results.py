"""What became of a request of Anthropic's batches, as the lines of their results tell it."""

from __future__ import annotations

import orjson

from gateway.anthropic.error_form import error_object
from gateway.batches.results import Unanswered
from gateway.schemas.common import JsonObject
from jan.errors import JanError
from jan.ids import RequestId
from jan.storage.v1 import batches_pb2
from jan.type.v1.usage_pb2 import Usage

_WORDS = {Unanswered.CANCELLED: "canceled", Unanswered.EXPIRED: "expired"}


class MessageResults:
    """Anthropic's form of results."""

    def answered(self, line: int, custom_id: str, request_id: RequestId, answer: bytes) -> batches_pb2.BatchResult:
        """A request that was answered with this message."""
        message = orjson.loads(answer)
        told = _line(custom_id, {"type": "succeeded", "message": message})
        return batches_pb2.BatchResult(line=line, answered=True, result_json=told, usage=_usage(message["usage"]))

    def refused(self, line: int, custom_id: str, request_id: RequestId, error: JanError) -> batches_pb2.BatchResult:
        """A request that was refused, or that failed."""
        told = _line(custom_id, {"type": "errored", "error": error_object(error, request_id)})
        return batches_pb2.BatchResult(line=line, result_json=told)

    def not_executed(self, line: int, custom_id: str, why: Unanswered) -> batches_pb2.BatchResult:
        """A request whose turn never came."""
        return batches_pb2.BatchResult(line=line, result_json=_line(custom_id, {"type": _WORDS[why]}), skipped=True)


def _line(custom_id: str, result: JsonObject) -> bytes:
    return orjson.dumps({"custom_id": custom_id, "result": result})


def _usage(told: JsonObject) -> Usage:
    """What a message cost; Anthropic's input tokens are those that the engine did not remember."""
    cached = told["cache_read_input_tokens"]
    return Usage(
        prompt_tokens=told["input_tokens"] + cached, cached_tokens=cached, completion_tokens=told["output_tokens"]
    )

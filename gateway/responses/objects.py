"""OpenAI's `response` object, from a run or from a chat that nothing is kept of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gateway.convert.items import item_from_message
from gateway.convert.json_fields import from_text, string_map
from gateway.convert.runs import error_from_proto
from gateway.convert.times import optional_seconds, seconds
from gateway.runs import states
from gateway.schemas.common import JsonObject
from gateway.services.storage import StorageClient
from jan.errors import NotFoundError
from jan.ids import ConversationId, ResponseId
from jan.storage.v1 import messages_pb2, runs_pb2
from jan.type.v1.usage_pb2 import Usage

_STATUSES = {
    states.QUEUED: "in_progress",
    states.IN_PROGRESS: "in_progress",
    states.CANCELLING: "in_progress",
    states.CANCELLED: "cancelled",
    states.COMPLETED: "completed",
    states.INCOMPLETE: "incomplete",
    states.FAILED: "failed",
    states.EXPIRED: "failed",
}
# What OpenAI's schema knows only with a value, or not at all.
_NEVER_NULL = frozenset({"user", "usage"})
_REASONS = {"max_completion_tokens": "max_output_tokens"}


async def stored_response(storage: StorageClient, run: runs_pb2.Run, *, with_results: bool = False) -> JsonObject:
    """A stored response as it is now, with what its run has written. with_results: see `item_from_message`."""
    messages = await written(storage, run)
    return response_object(run, [item_from_message(message, with_results=with_results) for message in messages])


async def written(storage: StorageClient, run: runs_pb2.Run) -> Sequence[messages_pb2.Message]:
    """The messages that a run wrote: its words, thoughts, searches and calls, in the order in which they were begun."""
    return await storage.all_messages(run.thread_id, run_id=run.id)


def response_object(run: runs_pb2.Run, output: Sequence[JsonObject]) -> JsonObject:
    """The object of a run that answers a request for a response. `thread_id` is ours: where its turn stands."""
    asked = asked_of(run)
    whole = {
        **head(asked, run),
        "id": ResponseId.of(run.id, run.thread_id),
        "status": _status(run, asked),
        "completed_at": optional_seconds(run, "completed_at") if run.status == states.COMPLETED else None,
        "error": _error(run),
        "incomplete_details": {"reason": _REASONS[run.incomplete_reason]} if run.incomplete_reason else None,
        "output": list(output),
        "usage": usage_object(run.usage) if run.HasField("usage") and run.status in states.TERMINAL else None,
    }
    return {name: value for name, value in whole.items() if value is not None or name not in _NEVER_NULL}


def head(asked: JsonObject, run: runs_pb2.Run) -> JsonObject:
    """What an answer says of the request."""
    return {
        **asked["told_back"],
        "object": "response",
        "created_at": seconds(run.created_at),
        "model": run.model,
        "conversation": {"id": ConversationId.of(run.thread_id)} if asked["in_conversation"] else None,
        "thread_id": run.thread_id or None,
        "store": bool(run.thread_id),
        "max_output_tokens": run.max_completion_tokens if run.HasField("max_completion_tokens") else None,
        "metadata": string_map(run.metadata_json),
        "parallel_tool_calls": run.parallel_tool_calls,
        "temperature": run.temperature if run.HasField("temperature") else None,
        "top_p": run.top_p if run.HasField("top_p") else None,
        "top_logprobs": 0,
    }


def usage_object(usage: Usage) -> JsonObject:
    """What a response cost, in OpenAI's form."""
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens, "cache_write_tokens": 0},
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.completion_tokens_details.reasoning_tokens},
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }


def asked_of(run: runs_pb2.Run) -> JsonObject:
    """What the request said beyond what a run has words for. Raises NotFoundError: it is no response any more."""
    asked: JsonObject = from_text(run.response_json, {})
    if "told_back" not in asked:
        raise no_response(ResponseId.of(run.id, run.thread_id))
    return asked


def no_response(response_id: str) -> NotFoundError:
    """The error for a response that is not there, or not any more."""
    return NotFoundError(f"Response with id {response_id[:160]!a} not found.")


def may_cut(run: runs_pb2.Run) -> bool:
    """Whether the model may be shown less than the thread: a response says so itself, another run has a strategy."""
    return not states.is_response(run) or asked_of(run)["told_back"]["truncation"] == "auto"


def named_here(param: str) -> str:
    """A field of a chat request by the name that it has in a response's."""
    if param.startswith("messages"):
        return "input"
    return "text.format.schema" if param == "response_format" else param.replace("].function.", "].")


def _status(run: runs_pb2.Run, asked: JsonObject) -> str:
    if run.status == states.QUEUED and asked["told_back"]["background"]:
        return "queued"
    return _STATUSES[run.status]


def _error(run: runs_pb2.Run) -> dict[str, Any] | None:
    if run.status == states.EXPIRED:
        return {"code": "server_error", "message": "The response was not finished in time."}
    return error_from_proto(run, named_here)

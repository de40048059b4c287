"""What engines answer when they cannot serve a request, in our kinds of errors. Pure but for the log."""

from __future__ import annotations

import re
from typing import Final

import orjson

from inference_service.engines.remote_errors import remote_error
from jan.errors import (
    FailedPreconditionError,
    InternalError,
    InvalidArgumentError,
    JanError,
    ResourceExhaustedError,
    UnavailableError,
)
from jan.telemetry import get_logger

logger = get_logger(__name__)

_ABOUT_THE_SERVER: Final = frozenset({401, 403, 404, 429})
"""Client errors of HTTP that speak of the engine's key, model or load, not of the request."""

ENGINE_DEAD: Final = "engine_dead"
"""The code of an UnavailableError that says: the engine's core has died, its server will end; others may be asked."""

_DEAD_VLLM: Final = "EngineCore encountered an issue"
"""How vLLM's server answers everything from the death of its core or a worker to its own end, up to 5 s later."""

_UNREADABLE: Final = re.compile(r"Failed to parse (messages|tools): (?:\[json\.exception[^\]]*\] )?([^:;{]+)")
"""llama.cpp answers 500 to messages and tools that lack a field; behind the reason it repeats all of them."""

_UNREAD_BY_VLLM: Final = re.compile(r"\d+ validation errors?:\s+\{'type': '\w+', 'loc': 'body\.(\w+)")
"""vLLM answers a field it cannot read with every way in which it tried to."""

_NOISE: Final = re.compile(
    r"\[\d\d:\d\d:\d\d\] <path>:\d+: | ?\(parameter=\w+, value=[^)]*\)"
    r"|\[json\.exception[^\]]*\] | - hint: .*"
    r"|^Unable to generate parser for this template\. Automatic parser generation failed: ",
    re.DOTALL,
)
"""What engines put around their reasons for those who built them."""


class EngineLostError(Exception):
    """The engine broke off before the end of its answer, or says of itself that it `is_dead`.

    The text is for our log, since it may tell addresses.
    """

    def __init__(self, how: str, *, is_dead: bool = False) -> None:
        """`how` it broke off."""
        super().__init__(how)
        self.is_dead = is_dead


def error_of(
    status: int, body: bytes, asked: str = "messages", *, is_remote: bool = False, wait_seconds: int = 5
) -> JanError:
    """What an engine's error answer means, in our kinds and OpenAI's codes.

    The engine's own sentence is passed on where the request is at fault, since it says what to change. Otherwise it
    may tell of our insides, so it goes into our log only. `asked` is the field that holds what the model was to read.
    is_remote: it is somebody else's server. wait_seconds: how long it asks to be left alone.
    """
    message, error_type, param = _error_fields(body)
    unreadable = _UNREADABLE.match(message)
    if unreadable is not None:
        part, reason = unreadable.groups()
        return InvalidArgumentError(f"The model cannot read '{part}': {reason.strip()}.", param=part)
    unread = _UNREAD_BY_VLLM.match(message)
    if unread is not None:
        return InvalidArgumentError(f"The model cannot read '{unread[1]}'.", param=unread[1])
    if "context size" in message or "context length" in message or error_type == "exceed_context_size_error":
        return InvalidArgumentError(_context_message(body, message, asked), code="context_length_exceeded", param=asked)
    if "atryoshka" in message:
        wanted = "This model cannot shorten its embeddings to so many dimensions; leave 'dimensions' out."
        return InvalidArgumentError(wanted, param="dimensions")
    if (400 <= status < 500 and status not in _ABOUT_THE_SERVER) or "is not supported" in message:
        reason = _NOISE.sub("", message)
        return InvalidArgumentError(reason or "The engine refuses the request.", param=param)
    logger.warning("engine error", status=status, message=message)
    if message.startswith(_DEAD_VLLM):
        return UnavailableError("The engine has died.", code=ENGINE_DEAD, retry_after_seconds=1)
    if status in (401, 403):
        message = "The model's server refuses our key, or wants one: see JANROOT_REMOTE_KEYS."
        return FailedPreconditionError(message, code="engine_unauthorized")
    if status == 404:
        return FailedPreconditionError("The model's server does not know this model.", code="engine_not_found")
    if status == 429:
        message = "The model's server takes no more requests now."
        return ResourceExhaustedError(message, code="engine_busy", retry_after_seconds=wait_seconds)
    if is_remote:
        return remote_error(status, wait_seconds)
    if status == 503:
        return UnavailableError("The engine is not ready.", code="engine_unavailable", retry_after_seconds=1)
    return InternalError("The engine failed on this request.")


def _error_fields(body: bytes) -> tuple[str, str, str]:
    """Message, type and param of OpenAI's error object, or of the flat one that some servers answer."""
    try:
        value = orjson.loads(body)
    except ValueError:
        return body[:300].decode("utf-8", "replace"), "", ""
    error = value.get("error", value) if isinstance(value, dict) else value
    if not isinstance(error, dict):
        return str(error)[:1000], "", ""
    return str(error.get("message") or "")[:1000], str(error.get("type") or ""), str(error.get("param") or "")


def _context_message(body: bytes, message: str, asked: str) -> str:
    """OpenAI's sentence when the engine gave the figures, else the engine's own."""
    try:
        error = orjson.loads(body)["error"]
        limit, tokens = error["n_ctx"], error["n_prompt_tokens"]
    except (ValueError, KeyError, TypeError):
        return _NOISE.sub("", message)
    return (
        f"This model's maximum context length is {limit} tokens. "
        f"However, your {asked} resulted in {tokens} tokens. Please reduce the length of the {asked}."
    )

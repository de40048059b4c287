"""How much of a thread a run's model is shown: what OpenAI's `truncation_strategy` and `max_prompt_tokens` say.

Tokens are counted by the model's own tokenizer, and only where they could matter: most threads are far from the end.
An image counts `IMAGE_TOKENS`, since nobody has looked at it yet.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import orjson

from gateway.convert.json_fields import from_text
from gateway.images.bounds import IMAGE_TOKENS
from gateway.images.places import places_of, without_images
from gateway.models.lookup import REMOTE_ENGINE
from gateway.runs.conversation import Conversation, JsonObject
from gateway.services.inference import InferenceClient
from jan.errors import JanError
from jan.inference.v1 import control_pb2
from jan.inference.v1.jobs_pb2 import ModelSpec
from jan.storage.v1 import runs_pb2
from jan.telemetry import get_logger

logger = get_logger(__name__)

# Every model has room for this many, so nobody need be asked about a short conversation.
_ALWAYS_FIT: Final = 1024
# What chat templates put around a conversation and each message is less; a token stands for a byte at least.
_TEMPLATE_TOKENS: Final = 512
_TOKENS_OF_A_ROLE: Final = 16
# No text has fewer tokens than one for so many bytes, so what is longer is not worth counting.
_MOST_BYTES_OF_A_TOKEN: Final = 16
_BYTES_PER_TOKEN: Final = 4
_COUNT_SECONDS: Final = 60.0

Count = Callable[[list[JsonObject]], Awaitable[int]]


class LimitSpentError(Exception):
    """A run may not go on: its tokens are used up. `limit` is OpenAI's name of the limit."""

    def __init__(self, limit: str) -> None:
        super().__init__(limit)
        self.limit = limit


def check_limits(run: runs_pb2.Run) -> None:
    """Raise LimitSpentError when the rounds before have used up what the run may use."""
    used = run.usage
    if run.HasField("max_completion_tokens") and used.completion_tokens >= run.max_completion_tokens:
        raise LimitSpentError("max_completion_tokens")
    if run.HasField("max_prompt_tokens") and used.prompt_tokens >= run.max_prompt_tokens:
        raise LimitSpentError("max_prompt_tokens")


async def truncated(
    inference: InferenceClient,
    spec: ModelSpec,
    run: runs_pb2.Run,
    conversation: Conversation,
    parameters: JsonObject,
) -> list[JsonObject]:
    """The messages that the model is shown. `parameters`: those of the request, whose tools are part of the prompt.

    `last_messages` shows the newest so many of the thread. `auto` leaves out messages of its middle, as few as need be
    for the model's context and `max_prompt_tokens`. A conversation that cannot be made to fit the context is told as
    short as it gets, and the engine says that it is too long. Raises LimitSpentError: it is beyond `max_prompt_tokens`.
    """
    strategy = from_text(run.truncation_strategy_json, {})
    last = strategy["last_messages"] if strategy.get("type") == "last_messages" else None
    if last:
        conversation = conversation.newest(last)
    allowed = run.max_prompt_tokens - run.usage.prompt_tokens if run.HasField("max_prompt_tokens") else None
    most = _most_tokens(conversation.messages(), parameters)
    if most <= min(_ALWAYS_FIT, allowed or _ALWAYS_FIT):
        return conversation.messages()
    room = None if last else await _room(inference, spec, parameters)
    bounds = [bound for bound in (room, allowed) if bound is not None]
    if not bounds or most <= min(bounds):
        return conversation.messages()
    count = _counter(inference, spec, parameters)
    if not last:
        conversation = await _fitted(conversation, count, min(bounds))
    if allowed is not None and await count(conversation.messages()) > allowed:
        raise LimitSpentError("max_prompt_tokens")
    return conversation.messages()


async def _room(inference: InferenceClient, spec: ModelSpec, parameters: JsonObject) -> int | None:
    """The tokens of a prompt that leaves room for an answer; None when nobody knows the model's context."""
    if spec.engine == REMOTE_ENGINE:
        return None
    previews = await inference.previews([spec])
    ctx_len = previews[spec.id].ctx_len if spec.id in previews else 0
    # A busy host may not have said in time what it would be; it is asked for the model itself then.
    if not ctx_len and (told := await _ask(inference, control_pb2.TokenizeRequest(model=spec, text=""))):
        ctx_len = told.ctx_len
    if not ctx_len:
        return None
    return ctx_len - min(ctx_len // 4, int(parameters.get("max_tokens", ctx_len)))


async def _fitted(conversation: Conversation, count: Count, room: int) -> Conversation:
    """The conversation with as many of its thread's messages as fit; with the newest alone, should none fit."""
    most = _worth_counting(conversation, room * _MOST_BYTES_OF_A_TOKEN)
    fits, too_many = 1, min(len(conversation.thread), most + 1) + 1
    tried = too_many - 1
    while fits < too_many - 1:
        if await count(conversation.shortened(tried).messages()) <= room:
            fits = tried
        else:
            too_many = tried
        tried = (fits + too_many) // 2
    return conversation.shortened(fits)


def _worth_counting(conversation: Conversation, most_bytes: int) -> int:
    """How many of the newest messages could fit at all."""
    count = 0
    for message in reversed(conversation.thread):
        most_bytes -= len(orjson.dumps(without_images([message], "")))
        if most_bytes < 0:
            break
        count += 1
    return max(1, count)


def _counter(inference: InferenceClient, spec: ModelSpec, parameters: JsonObject) -> Count:
    """Counts a prompt's tokens; estimates them for a model that cannot be asked, such as a remote one."""
    tools: JsonObject = {name: value for name, value in parameters.items() if name in {"tools", "tool_choice"}}

    async def count(messages: list[JsonObject]) -> int:
        images = IMAGE_TOKENS * len(places_of(messages))
        chat = orjson.dumps({"messages": without_images(messages, ""), **tools})
        told = await _ask(inference, control_pb2.TokenizeRequest(model=spec, chat_json=chat.decode()))
        return images + (len(chat) // _BYTES_PER_TOKEN if told is None else len(told.tokens))

    return count


async def _ask(
    inference: InferenceClient, question: control_pb2.TokenizeRequest
) -> control_pb2.TokenizeResponse | None:
    """What the model says of its tokens; None for one that cannot be asked."""
    if question.model.engine == REMOTE_ENGINE:
        return None
    try:
        async with asyncio.timeout(_COUNT_SECONDS):
            return await inference.tokenize(question)
    except (JanError, TimeoutError) as error:
        logger.info("tokens are not counted", model=question.model.id, error=str(error))
        return None


def _most_tokens(messages: list[JsonObject], parameters: JsonObject) -> int:
    """More tokens than the prompt can have."""
    told = len(orjson.dumps([without_images(messages, ""), parameters.get("tools")]))
    told += IMAGE_TOKENS * len(places_of(messages))
    return told + _TEMPLATE_TOKENS + _TOKENS_OF_A_ROLE * len(messages)

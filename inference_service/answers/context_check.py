"""Whether a prompt and the answer that was asked for fit the model's context together, before the engine is asked.

A prompt alone that is too long is refused by the engines themselves, with the numbers. An answer that may be long is
ended by them where the context ends; but who names a length in his request is told when it cannot be had, as at OpenAI.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

from inference_service.answers.tokens import (
    UNBOUNDED,
    TokenQuestion,
    chat_of,
    most_tokens,
    parts_of,
    prompts_of,
    too_long,
    too_much,
)
from inference_service.models.model import RunningModel
from jan.errors import InvalidArgumentError, JanError

_MAX_COUNTED_BYTES: Final = 2 * 1024 * 1024
"""What is worth counting for a sentence: more than the context of any model takes, and a second of work."""


async def check_fits(running: RunningModel, body: Mapping[str, Any], limit: int | None) -> None:
    """Raises InvalidArgumentError: `limit` tokens do not fit behind the prompt of `body`, which is in engine's terms.

    The tokens are counted only where they could matter: most requests are far from the end.
    """
    ctx_len = running.engine.ctx_len
    if limit is None or ctx_len is None or most_tokens(body) + limit <= ctx_len:
        return
    prompt_tokens = await _count(running, body)
    # A prompt that leaves no room at all is the engine's to refuse, whatever was asked for.
    if prompt_tokens < ctx_len < prompt_tokens + limit:
        raise too_much(ctx_len, prompt_tokens, limit, chat="messages" in body)


@contextlib.asynccontextmanager
async def told_exactly(running: RunningModel, body: Mapping[str, Any]) -> AsyncIterator[None]:
    """Within it, a refusal of a prompt as too long tells how long it is.

    vLLM stops counting where its context ends and says "at least". A prompt of megabytes is not counted either.
    """
    try:
        yield
    except InvalidArgumentError as refusal:
        ctx_len = running.engine.ctx_len
        if refusal.code != "context_length_exceeded" or "at least" not in refusal.message or ctx_len is None:
            raise
        if _MAX_COUNTED_BYTES < most_tokens(body) < UNBOUNDED:
            raise
        try:
            tokens = await _count(running, body)
        except JanError:  # the engine does not answer any more: what it said is what is known
            raise refusal from None
        raise too_long(ctx_len, tokens, refusal.param) from None


async def _count(running: RunningModel, body: Mapping[str, Any]) -> int:
    """The tokens of the prompt, or of the longest one."""
    engine, client = running.engine, running.client
    if "messages" in body:
        return (await engine.tokenize(client, TokenQuestion(chat=chat_of(body)))).count
    return max([await _count_prompt(running, prompt) for prompt in prompts_of(body)])


async def _count_prompt(running: RunningModel, prompt: Any) -> int:
    """The tokens of a text, of tokens, or of both in turn; what begins every prompt goes before a text alone."""
    engine, client = running.engine, running.client
    alone = isinstance(prompt, str)
    counts = [
        len((await engine.tokenize(client, TokenQuestion(part, add_special=alone))).ids) if isinstance(part, str) else 1
        for part in parts_of(prompt)
    ]
    return sum(counts)

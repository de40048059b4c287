"""Whether a prompt and the answer that was asked for fit the model's context together, before the engine is asked.

A prompt alone that is too long is refused by the engines themselves, with the numbers. An answer that may be long is
ended by them where the context ends; but who names a length in his request is told when it cannot be had, as at OpenAI.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from inference_service.model import RunningModel
from inference_service.tokens import TokenQuestion, chat_of, most_tokens, parts_of, prompts_of, too_much


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


async def _count(running: RunningModel, body: Mapping[str, Any]) -> int:
    """The tokens of the prompt, or of the longest one."""
    engine, client = running.engine, running.client
    if "messages" in body:
        return len((await engine.tokenize(client, TokenQuestion(chat=chat_of(body)))).ids)
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

"""Filling in text between a prompt and a suffix, with models that have tokens for it (FIM, fill in the middle).

The prompt is made here and sent as any other: llama.cpp's own route for this answers in a form of its own, and cuts
long texts in silence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from inference_service.answers.tokens import TokenQuestion
from inference_service.engines import llamacpp_tokens
from inference_service.engines.client import EngineClient
from jan.errors import InvalidArgumentError

_KEYS: Final = (
    tuple(f"tokenizer.ggml.fim_{part}_token_id" for part in ("pre", "suf", "mid")),
    tuple(f"tokenizer.ggml.{part}_token_id" for part in ("prefix", "suffix", "middle")),
)
"""Where a GGUF file tells its tokens, today and before 2024-10."""

_SPELLINGS: Final = (
    ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"),
    ("<fim_prefix>", "<fim_suffix>", "<fim_middle>"),
    ("<fim-prefix>", "<fim-suffix>", "<fim-middle>"),
    ("<\uff5cfim\u2581begin\uff5c>", "<\uff5cfim\u2581hole\uff5c>", "<\uff5cfim\u2581end\uff5c>"),
    ("<|code_prefix|>", "<|code_suffix|>", "<|code_middle|>"),
)
"""How vocabularies spell them, for files that do not tell: Qwen, StarCoder and Granite, SantaCoder, DeepSeek, GLM."""


@dataclass(frozen=True, slots=True)
class FimTokens:
    """The tokens around the text before, the text after and the text to be written. begin: what begins any prompt."""

    begin: tuple[int, ...]
    prefix: int
    suffix: int
    middle: int

    def prompt(self, before: str | Sequence[int], after: str) -> list[int | str]:
        """A prompt of tokens and texts, as llama.cpp takes it."""
        text = [before] if isinstance(before, str) else list(before)
        return [*self.begin, self.prefix, *text, self.suffix, after, self.middle]


async def find_fim(client: EngineClient, metadata: Mapping[str, Any]) -> FimTokens | None:
    """The tokens of a loaded model, from its file's metadata, else from its vocabulary; None when it has none."""
    found = _told(metadata) or await _spelt(client)
    if found is None:
        return None
    begin = await llamacpp_tokens.tokenize(client, TokenQuestion(""))
    return FimTokens(tuple(begin.ids), *found)


def _told(metadata: Mapping[str, Any]) -> Sequence[int] | None:
    for keys in _KEYS:
        tokens = [token for token in map(metadata.get, keys) if isinstance(token, int)]
        if len(tokens) == len(keys):
            return tokens
    return None


async def _spelt(client: EngineClient) -> Sequence[int] | None:
    for spelling in _SPELLINGS:
        tokens = await llamacpp_tokens.tokenize(client, TokenQuestion("".join(spelling), add_special=False))
        if len(tokens.ids) == len(spelling):
            return tokens.ids
    return None


def with_suffix(fim: FimTokens | None, prompts: Sequence[str | Sequence[int]], suffix: str) -> list[Any]:
    """The prompts with what is to follow them. Raises InvalidArgumentError: the model was not made for that."""
    if fim is None:
        message = (
            "This model has no tokens for filling in text before a suffix (FIM). Leave 'suffix' out, or ask a model "
            "that was made for it, such as a Qwen Coder, StarCoder or DeepSeek Coder in GGUF."
        )
        raise InvalidArgumentError(message, param="suffix", code="unsupported_parameter")
    return [fim.prompt(prompt, suffix) for prompt in prompts]

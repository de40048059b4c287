"""What llama.cpp's models may write in front of an answer that is bound: the thoughts of their chat template.

A grammar of ours binds from the first token on, so it has to let them by; llama.cpp takes them out of the answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

from inference_service.answers.binding import lark
from inference_service.engines.client import EngineClient

_OPEN: Final = "<think>"
_OTHERS: Final = ("<|channel|>", "[THINK]", "<seed:think>", "<|START_THINKING|>", "<|inner_prefix|>", "<thinking>")
"""Marks of other ways to think, which only llama.cpp itself knows."""

_CHAT: Final = {"messages": [{"role": "user", "content": "Hello"}]}
_NO_THOUGHTS: Final = {"chat_template_kwargs": {"enable_thinking": False}}
_THOUGHTS: Final = r"""
thoughts: whole_thoughts SPACE
whole_thoughts[lazy]: /(?s:.*)<\/think>/
SPACE: /[ \t\r\n]{0,4}/"""


@dataclass(frozen=True, slots=True)
class Thoughts:
    """How the model of one engine thinks.

    are_known: a grammar of ours can bind what comes behind them. may_begin: the model may think. begins: each prompt
    ends within thoughts; begins_anyway: also when the client wants none.
    """

    are_known: bool = True
    may_begin: bool = False
    begins: bool = False
    begins_anyway: bool = False

    @classmethod
    async def of(cls, client: EngineClient, template: str) -> Self:
        """Look at a chat template, and at the ends of prompts that it makes. Raises UnavailableError."""
        if _OPEN not in template:
            return cls(are_known=not any(mark in template for mark in _OTHERS))
        prompts = [(await client.post("/apply-template", {**_CHAT, **more}))["prompt"] for more in ({}, _NO_THOUGHTS)]
        begins, begins_anyway = (prompt.rstrip().endswith(_OPEN) for prompt in prompts)
        return cls(may_begin=True, begins=begins, begins_anyway=begins_anyway)

    def bind(self, schema: Mapping[str, Any], *, wanted: bool = True) -> dict[str, Any]:
        """What tells llama.cpp to keep to a schema. Behind thoughts of another kind its own converter does.

        wanted: the client has not said that there shall be none.
        """
        if not self.are_known:
            return {"response_format": {"type": "json_schema", "json_schema": {"schema": schema}}}
        if self.begins if wanted else self.begins_anyway:
            return {"grammar": lark(schema, "thoughts", _THOUGHTS)}
        if self.may_begin and wanted:
            return {"grammar": lark(schema, f'("{_OPEN}" thoughts)?', _THOUGHTS)}
        return {"grammar": lark(schema)}

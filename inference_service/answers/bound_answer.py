"""An answer that is bound to a schema, looked at piece by piece as the engine writes it.

Engines fail open: llama.cpp goes on unbound when a schema becomes too much for it in the middle, and vLLM ends there.
What breaks the schema is told as an error, never as an answer that has ended well.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from llguidance import LLMatcher

from inference_service.answers.answer import Answer, PassedOn
from inference_service.answers.binding import Grammar
from jan.errors import InternalError

SCHEMA_BROKEN: Final = "schema_broken"


class BoundAnswer(PassedOn):
    """An answer of chunks as engines say them, passed on to `inner` as long as it keeps to its grammar."""

    __slots__ = ("_grammar", "_matchers", "_may_be_cut")

    def __init__(self, inner: Answer, grammar: Grammar, *, may_be_cut: bool) -> None:
        """may_be_cut: the client named texts that end the answer, wherever they stand in it."""
        super().__init__(inner)
        self._grammar = grammar
        self._may_be_cut = may_be_cut
        self._matchers: dict[int, LLMatcher] = {}

    def feed(self, chunk: Mapping[str, Any]) -> list[bytes]:
        """See `Answer.feed`. Raises InternalError: the engine did not keep to the schema."""
        for choice in chunk["choices"]:
            self._check(choice)
        return self._inner.feed(chunk)

    def _check(self, choice: Mapping[str, Any]) -> None:
        matcher = self._matchers.get(choice["index"])
        if matcher is None:
            matcher = self._matchers[choice["index"]] = self._grammar.matcher()
        text = (choice.get("delta") or {}).get("content")
        keeps = not text or matcher.consume_tokens(list(text.encode()))
        if keeps and choice.get("finish_reason") == "stop" and not self._may_be_cut:
            keeps = matcher.is_accepting()
        if not keeps:
            message = "The engine did not keep to the schema of its answer. Ask again, or with a simpler schema."
            raise InternalError(message, code=SCHEMA_BROKEN)

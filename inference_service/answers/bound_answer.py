"""An answer that is bound to a schema, looked at piece by piece as the engine writes it.

Engines fail open: llama.cpp goes on unbound when a schema becomes too much for it in the middle, and vLLM ends there.
What breaks the schema is told as an error, never as an answer that has ended well: the client's, if its schema became
too much here as well, and else the engine's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from llguidance import LLMatcher

from inference_service.answers.answer import Answer, PassedOn
from inference_service.answers.binding import Grammar
from jan.errors import InternalError, InvalidArgumentError, JanError

SCHEMA_BROKEN: Final = "schema_broken"

_MOST_CHARS: Final = 200


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
        """See `Answer.feed`.

        Raises InternalError: the engine did not keep to the schema. InvalidArgumentError: nobody could.
        """
        for choice in chunk["choices"]:
            self._check(choice)
        return self._inner.feed(chunk)

    def _check(self, choice: Mapping[str, Any]) -> None:
        matcher = self._matchers.get(choice["index"])
        if matcher is None:
            matcher = self._matchers[choice["index"]] = self._grammar.matcher()
        tokens = list(((choice.get("delta") or {}).get("content") or "").encode())
        keeps = not tokens or (not matcher.is_stopped() and matcher.try_consume_tokens(tokens) == len(tokens))
        if keeps and choice.get("finish_reason") == "stop" and not self._may_be_cut:
            keeps = matcher.is_accepting()
        if not keeps:
            raise self._broken(matcher)

    def _broken(self, matcher: LLMatcher) -> JanError:
        if not matcher.is_stopped():  # what the engine looked at before it went on by itself
            matcher.compute_ff_bytes()
            matcher.compute_bitmask()
        if matcher.is_error():
            reason = matcher.get_error().partition("\n")[0][:_MOST_CHARS]
            message = f"Nobody can keep to this schema in the middle of its answer ({reason}). Make it simpler."
            return InvalidArgumentError(message, param=self._grammar.param, code="schema_too_complex")
        message = "The engine did not keep to the schema of its answer. Ask again, or with a simpler schema."
        return InternalError(message, code=SCHEMA_BROKEN)

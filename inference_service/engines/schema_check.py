"""Whether answers can be bound to what a chat asks for, told before there is a job for it: no engine is needed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from inference_service.answers.binding import Binding, answer_schema
from inference_service.answers.forced_calls import ForcedCall
from inference_service.answers.schema_trial import SchemaTrial
from inference_service.answers.strict_calls import StrictTools
from inference_service.engines.grammar_cost import check_tools

_LLAMACPP: Final = "llamacpp"
_REMOTE: Final = "openai"


class SchemaCheck:
    """Refuses what the engines of this host would refuse of a chat's schemas, in the same words."""

    def __init__(self) -> None:
        self._trial = SchemaTrial()

    async def check(self, engine: str, chat: Mapping[str, Any]) -> None:
        """Return when all of it can be bound, by an engine of that kind.

        Raises InvalidArgumentError, naming what cannot. UnavailableError: it could not be tried.
        """
        if engine == _REMOTE:  # its server is handed schemas as they are
            return
        forced = ForcedCall.of(chat, answer_schema(chat))
        binding = Binding.of(chat, forced)
        if binding is None:
            if engine == _LLAMACPP:
                check_tools(chat)
            strict = StrictTools.of(chat)
            binding = None if strict is None else strict.binding
        if binding is not None:
            await self._trial.check(binding)
            await binding.grammar()

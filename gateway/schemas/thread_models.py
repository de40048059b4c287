"""POST /v1/threads/{thread_id}/models/{model_id}: what a thread may override of a model."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import ConfigDict

from gateway.models.settings import check_settings
from gateway.schemas.common import JsonObject
from gateway.schemas.sampling import Sampling

# Both spellings of OpenAI are kept under the one that Jan's files have.
_MAX_TOKENS = "max_tokens"
_TOKEN_LIMITS = frozenset({_MAX_TOKENS, "max_completion_tokens"})


class Parameters(Sampling):
    """Jan's map of parameters; its own ones that are not known here are kept as they were sent."""

    model_config = ConfigDict(extra="allow")


class ChangeThreadModel(Sampling):
    """The changes: parameters by their names, or Jan's two maps. What is not sent stays, null clears."""

    overrides: ClassVar[bool] = True
    """Whether the settings are an override, of which some things are refused."""

    parameters: Parameters | None = None
    settings: JsonObject | None = None

    def changed_parameters(self) -> JsonObject:
        """What was sent of parameters, those by their own names last; None clears one."""
        nested = {} if self.parameters is None else _sent(self.parameters)
        own = {name: value for name, value in _sent(self).items() if name in Sampling.model_fields}
        return nested | own

    def changed_settings(self) -> JsonObject:
        """What was sent of settings; None clears one. Raises InvalidArgumentError: one that cannot be honoured."""
        check_settings(self.settings or {}, "settings", all_must_count=self.overrides)
        return self.settings or {}


def _sent(sampling: Sampling) -> dict[str, Any]:
    values = sampling.model_dump(exclude_unset=True)
    limits = [values.pop(name) for name in _TOKEN_LIMITS & values.keys()]
    return values | ({_MAX_TOKENS: next(filter(None, limits), None)} if limits else {})

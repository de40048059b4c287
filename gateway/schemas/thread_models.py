"""POST /v1/threads/{thread_id}/models/{model_id}: what a thread may override of a model."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import ConfigDict, Field

from gateway.schemas.common import NO_NUL, JsonObject, SentObject
from gateway.schemas.sampling import Sampling

# Both spellings of OpenAI are kept under the one that Jan's files have.
_MAX_TOKENS = "max_tokens"
_TOKEN_LIMITS = frozenset({_MAX_TOKENS, "max_completion_tokens"})


class Parameters(Sampling):
    """Jan's map of parameters; its own ones that are not known here are kept as they were sent."""

    model_config = ConfigDict(extra="allow")


class Settings(SentObject):
    """Jan's map of load-time settings; the known ones are checked, the others kept as they were sent."""

    ctx_len: Annotated[int, Field(ge=16, le=10_000_000)] | None = None
    n_parallel: Annotated[int, Field(ge=1, le=256)] | None = None
    ngl: Annotated[int, Field(ge=0, le=10_000)] | None = None
    cpu_threads: Annotated[int, Field(ge=1, le=1024)] | None = None
    embedding: bool | None = None
    cont_batching: bool | None = None
    prompt_template: Annotated[str, NO_NUL] | None = None


class ChangeThreadModel(Sampling):
    """The changes: parameters by their names, or Jan's two maps. What is not sent stays, null clears."""

    parameters: Parameters | None = None
    settings: Settings | None = None

    def changed_parameters(self) -> JsonObject:
        """What was sent of parameters, those by their own names last; None clears one."""
        nested = {} if self.parameters is None else _sent(self.parameters)
        own = {name: value for name, value in _sent(self).items() if name in Sampling.model_fields}
        return nested | own

    def changed_settings(self) -> JsonObject:
        """What was sent of settings; None clears one."""
        return {} if self.settings is None else self.settings.as_sent()


def _sent(sampling: Sampling) -> dict[str, Any]:
    values = sampling.model_dump(exclude_unset=True)
    limits = [values.pop(name) for name in _TOKEN_LIMITS & values.keys()]
    return values | ({_MAX_TOKENS: next(filter(None, limits), None)} if limits else {})

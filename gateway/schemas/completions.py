"""POST /v1/completions: what may be sent (OpenAI's legacy CreateCompletionRequest)."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field, StringConstraints

from gateway.schemas.chat import Choices, LogitBias, StreamOptions
from gateway.schemas.common import NO_NUL, JsonObject
from gateway.schemas.elsewhere import RefusesElsewheres
from gateway.schemas.inputs import Inputs, at_most
from gateway.schemas.sampling import Sampling
from jan.errors import InvalidArgumentError

MAX_PROMPTS = 128


class CompletionRequest(RefusesElsewheres, Sampling):
    """The request body; `prompt` is always a list, of texts or of lists of tokens."""

    model: Annotated[str, StringConstraints(min_length=1)]
    prompt: Annotated[Inputs, at_most(MAX_PROMPTS)]
    max_tokens: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: Choices | None = None
    best_of: Annotated[int, Field(ge=1, le=20)] | None = None
    logprobs: Annotated[int, Field(ge=0, le=5)] | None = None
    echo: bool | None = None
    suffix: Annotated[str, NO_NUL] | None = None
    logit_bias: LogitBias | None = None
    user: str | None = None

    _passed_on: ClassVar[tuple[str, ...]] = (
        *("temperature", "top_p", "n", "stop", "seed", "logprobs", "presence_penalty", "frequency_penalty"),
        *("logit_bias", "top_k", "min_p", "repeat_penalty", "max_tokens", "echo", "suffix"),
    )

    _partly: ClassVar[dict[str, str]] = {
        "best_of": "as many as `n`",
        "echo": "not together with `logprobs` for GGUF models",
        "stream_options": "`include_obfuscation` is refused",
        "suffix": "by models that know how to fill in",
    }

    def check_supported(self) -> None:
        """Refuse what would change the answer and is not built. Raises InvalidArgumentError, naming the parameter."""
        if self.best_of not in (None, self.n or 1):
            message = "'best_of' other than 'n' is not supported by this server; leave it out."
            raise InvalidArgumentError(message, param="best_of", code="unsupported_parameter")
        if self.stream_options is not None:
            self.stream_options.check_supported(stream=bool(self.stream))

    def parameters(self) -> JsonObject:
        """What was sent but prompt and model; what says nothing is left out."""
        values = {name: getattr(self, name) for name in self._passed_on}
        return {
            name: value for name, value in values.items() if value is not None and value is not False and value != ""
        }

    @property
    def wants_usage(self) -> bool:
        """Whether a stream shall end with a usage chunk."""
        return bool(self.stream and self.stream_options and self.stream_options.include_usage)

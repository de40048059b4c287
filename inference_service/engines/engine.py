"""The Engine protocol: something that speaks OpenAI HTTP, however it came to run.

An engine is one loaded model. The service starts it, asks it over HTTP and stops it; what the model does with a prompt
is none of our code. A new engine is one file beside this one that keeps this promise, and a row in `launcher.py`.

Codes of the errors raised here, finer than their kind: `engine_unsupported`, `engine_start_failed`, `engine_crashed`,
`engine_stuck`, `template_unsafe`, `model_file_missing`, `model_file_invalid`, `model_settings_invalid`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from inference_service.answers.answer import Answer
from inference_service.answers.binding import Binding, Grammar
from inference_service.answers.bound_answer import BoundAnswer
from inference_service.answers.forced_calls import ForcedCall, ForcedCallAnswer
from inference_service.answers.schema_trial import SchemaTrial
from inference_service.answers.strict_calls import StrictCalls, StrictTools
from inference_service.answers.tokens import TokenQuestion, Tokens
from inference_service.engines.traffic import Traffic

if TYPE_CHECKING:
    from inference_service.engines.client import EngineClient


@dataclass(frozen=True, slots=True)
class Connection:
    """Where a running engine listens and how to be let in.

    `base_url` ends without a slash and includes `/v1`; with `socket_path` the URL's host is only decoration.
    traffic: what is asked over it.
    """

    base_url: str
    socket_path: Path | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    traffic: Traffic = field(default_factory=Traffic, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class ChatCall:
    """One chat request in the engine's own terms; `streams` says whether the engine answers with chunks.

    forced: the answer's text will be this tool call, to be shaped back (`forced_calls.py`). binding: the schema that
    the answer must keep to, once `trial` has passed it; the fields that `binds_by` makes of it tell the engine, and the
    answer streams. strict: functions whose calls are looked at, if the model decides on one; the answer streams then.
    """

    body: Mapping[str, Any]
    streams: bool
    forced: ForcedCall | None = None
    binding: Binding | None = None
    binds_by: Callable[[Mapping[str, Any]], Mapping[str, Any]] = dict
    trial: SchemaTrial = field(default_factory=SchemaTrial)
    strict: StrictTools | None = None
    _grammar: Grammar | None = None
    _calls_grammar: Grammar | None = None

    async def bound(self) -> ChatCall:
        """The call with what holds the engine to its schema. Raises InvalidArgumentError: what of it does not bind."""
        if self.strict is not None:
            await self.trial.check(self.strict.binding)
            return replace(self, _calls_grammar=await self.strict.binding.grammar())
        if self.binding is None:
            return self
        await self.trial.check(self.binding)
        grammar = await self.binding.grammar()
        body = {**self.body, **self.binds_by(grammar.schema)}
        if self.forced is not None and self.forced.or_answer is None:
            body.pop("stop", None)  # it would end what the call is wrapped in, and with it the call
        return replace(self, body=body, _grammar=grammar)

    def strict_calls(self, answer: Answer) -> StrictCalls | None:
        """What holds back the calls of `answer` that are strict; None where none can be."""
        if self.strict is None or self._calls_grammar is None:
            return None
        return StrictCalls(answer, self.strict.calls, self._calls_grammar)

    def read_by(self, answer: Answer) -> Answer:
        """What is to be fed with the engine's chunks, so that `answer` is told what the client asked for."""
        reader = answer if self.forced is None else ForcedCallAnswer(answer, self.forced)
        if self._grammar is None:
            return reader
        return BoundAnswer(reader, self._grammar, may_be_cut=bool(self.body.get("stop")))


@dataclass(frozen=True, slots=True)
class CompletionCall:
    """One text completion in the engine's own terms.

    echo: the texts of the prompts, which are to be put before their answers here because the engine does not.
    """

    body: Mapping[str, Any]
    streams: bool
    echo: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class EmbedCall:
    """One embeddings request in the engine's own terms: its inputs in batches, asked for one after the other."""

    bodies: Sequence[Mapping[str, Any]]


class Sleeper(Protocol):
    """How an engine gives back the memory of its GPUs without losing its weights, which rest in RAM meanwhile."""

    async def sleep(self, client: EngineClient) -> None:
        """Fall asleep; it works on no request. Raises UnavailableError: it did not, and is to be ended."""

    async def wake(self, client: EngineClient) -> None:
        """Be as after `start` again. Raises UnavailableError: it is not, and is to be ended."""


class Engine(Protocol):
    """One model, loaded by one engine process or served by somebody else."""

    @property
    def slots(self) -> int:
        """How many requests it answers side by side; more would only wait inside it."""

    @property
    def ctx_len(self) -> int | None:
        """Tokens of context for each request, prompt and answer together; None when nobody here knows."""

    @property
    def is_local(self) -> bool:
        """Whether it takes memory of this host while it runs."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """What of the model's settings was not honoured, one sentence each."""

    @property
    def pid(self) -> int | None:
        """The engine's process, which leads its session; None before the start, and for a remote one."""

    def progress(self) -> float | None:
        """How much of the model is loaded, 0 to 1; None when that cannot be told. Reads files: not for the loop."""

    @property
    def activity(self) -> str:
        """What it does while it starts, in words; "" when it does not say."""

    @property
    def sleeper(self) -> Sleeper | None:
        """How it sleeps; None when it cannot, or is not to."""

    async def start(self) -> Connection:
        """Start it and return when it answers.

        Raises UnavailableError or FailedPreconditionError: why it did not start; nothing is left running then.
        """

    async def stop(self) -> None:
        """End it: asked first, killed after a grace time. Harmless when it does not run."""

    async def wait_exit(self) -> str:
        """Return, once a started engine has ended by itself, a sentence on how. Never for a remote one."""

    def chat_call(self, request: Mapping[str, Any]) -> ChatCall:
        """Translate a validated OpenAI chat request, letting through only fields known to be harmless.

        Raises InvalidArgumentError: leaving a field out would change the answer.
        """

    def continues(self, said: str) -> bool:
        """Whether it can go on from exactly this text, the beginning of an answer; "" asks whether it ever can.

        A chat then ends with an assistant message that holds the text, and has `continue_final_message` true and
        `add_generation_prompt` false; its answer does not repeat the text.
        """

    def completion_call(self, request: Mapping[str, Any]) -> CompletionCall:
        """Translate a validated OpenAI completion request, `prompt` being a list of texts or of lists of tokens.

        Raises InvalidArgumentError: leaving a field out would change the answer, for example `suffix`.
        """

    async def tokenize(self, client: EngineClient, question: TokenQuestion) -> Tokens:
        """What the model makes of a text or a chat. Raises InvalidArgumentError: it cannot be asked that."""

    async def detokenize(self, client: EngineClient, tokens: Sequence[int]) -> str:
        """The text of tokens. Raises InvalidArgumentError: it cannot be asked that, or has no such token."""

    def embed_call(self, request: Mapping[str, Any]) -> EmbedCall:
        """Translate a validated OpenAI embeddings request, `input` being a list of texts or of lists of tokens.

        Vectors may be answered as numbers or in base64. Raises InvalidArgumentError: the model is not loaded for that.
        """

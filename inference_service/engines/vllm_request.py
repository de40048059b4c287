"""Chat requests in vLLM's terms: only fields known to be harmless, tools as far as the model can. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from inference_service.answers.binding import Binding, answer_schema
from inference_service.answers.continuation import CHAT_FIELDS
from inference_service.answers.embeddings import batches
from inference_service.answers.forced_calls import ForcedCall
from inference_service.answers.schema_trial import SchemaTrial
from inference_service.answers.strict_calls import StrictTools
from inference_service.engines.engine import ChatCall, CompletionCall, EmbedCall
from inference_service.engines.images import check_images
from inference_service.engines.plain_text import PlainText
from inference_service.engines.prompt_template import add_stops
from inference_service.engines.purpose import refuse_suffix
from jan.errors import InvalidArgumentError

_FIELDS: Final = frozenset(
    {
        *("messages", "max_tokens", "n", "stop", "seed", "temperature", "top_p", "logprobs", "top_logprobs"),
        *("presence_penalty", "frequency_penalty", "logit_bias", "reasoning_effort"),
        *("top_k", "min_p", "min_tokens", "ignore_eos"),
        *("cache_salt", *CHAT_FIELDS),  # ours, never a client's: `relay.py` writes them
    }
)
"""What may reach vLLM. It knows many more fields, some of them not for strangers: templates and their arguments, prompt
embeddings, grammars, processors (docs/security.md S22 to S26)."""


_COMPLETION_FIELDS: Final = frozenset(
    {
        *("prompt", "max_tokens", "n", "stop", "seed", "temperature", "top_p", "logprobs", "echo"),
        *("presence_penalty", "frequency_penalty", "logit_bias", "top_k", "min_p", "cache_salt"),
    }
)

_GREEDY_BELOW: Final = 1e-5  # vLLM's bound (SamplingParams)


@dataclass(frozen=True, slots=True)
class VllmRequests:
    """How one loaded model is asked; `ctx_len` in tokens, `stops` are those of its chat template.

    sees: it takes images. model_id: what people call it; `model` is vLLM's name.
    """

    model: str
    ctx_len: int
    template_has_tools: bool
    parses_tools: bool
    embeds: bool
    sees: bool = False
    model_id: str = ""
    stops: tuple[str, ...] = ()
    plain: PlainText = field(default_factory=PlainText)
    schemas: SchemaTrial = field(default_factory=SchemaTrial)

    def chat_call(self, request: Mapping[str, Any]) -> ChatCall:
        """Translate a validated request.

        Raises InvalidArgumentError: this model does not chat, cannot be left the choice to call a tool, or not see.
        """
        if self.embeds:
            raise InvalidArgumentError("This model computes embeddings; it writes no text.", param="model")
        check_images(request["messages"], self.model_id or self.model, sees=self.sees)
        body = {key: value for key, value in request.items() if key in _FIELDS and value is not None}
        body["model"] = self.model
        self._bound_tokens(body, request)
        if request.get("repeat_penalty") is not None:
            body["repetition_penalty"] = request["repeat_penalty"]
        if body.get("logprobs"):
            # vLLM puts the chosen token first among the alternatives, likely or not: one more is asked for, and the
            # likeliest are kept (`shapes.logprobs_of`).
            body["top_logprobs"] = body.get("top_logprobs", 0) + 1
        _allow_equal_choices(body)
        forced = ForcedCall.of(request, answer_schema(request))
        binding = Binding.of(request, forced)
        if binding is None:
            add_stops(body, self.stops)
        if forced is not None:
            self._force(body, request, forced)
        elif request.get("tools") and request.get("tool_choice") != "none":
            self._check_parses_tools()
            body |= {"tools": request["tools"], "tool_choice": "auto"}
            if request.get("parallel_tool_calls") is not None:
                body["parallel_tool_calls"] = request["parallel_tool_calls"]
        body = self.plain.chat(body)
        strict = StrictTools.of(request) if forced is None else None
        streams = bool(request.get("stream")) or binding is not None or strict is not None
        if streams:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        return ChatCall(
            body,
            streams=streams,
            forced=forced,
            binding=binding,
            binds_by=_format_of,
            trial=self.schemas,
            strict=strict,
        )

    def completion_call(self, request: Mapping[str, Any]) -> CompletionCall:
        """Translate a validated request. Raises InvalidArgumentError: this model writes no text, or has a suffix."""
        if self.embeds:
            raise InvalidArgumentError("This model computes embeddings; it writes no text.", param="model")
        refuse_suffix(request)
        body = {key: value for key, value in request.items() if key in _COMPLETION_FIELDS and value is not None}
        body["model"] = self.model
        self._bound_tokens(body, request)
        if body.get("max_tokens") == 0 and not request.get("echo"):
            body["max_tokens"] = 1  # it takes 0 with an echo alone; `completions.py` drops the token
        if request.get("repeat_penalty") is not None:
            body["repetition_penalty"] = request["repeat_penalty"]
        _allow_equal_choices(body)
        streams = bool(request.get("stream"))
        if streams:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        return CompletionCall(body, streams=streams)

    def embed_call(self, request: Mapping[str, Any]) -> EmbedCall:
        """Translate a validated request; shortening vectors is for models that were trained for it (Matryoshka)."""
        more = {name: request[name] for name in ("dimensions", "cache_salt") if request.get(name) is not None}
        shared = {"model": self.model, "encoding_format": "base64", **more}
        return EmbedCall([{**shared, "input": inputs} for inputs in batches(request["input"])])

    def _bound_tokens(self, body: dict[str, Any], request: Mapping[str, Any]) -> None:
        """VLLM refuses a limit above the model's context, which clients send who mean "as much as there is room"."""
        limit = request.get("max_completion_tokens") or request.get("max_tokens")
        if limit is not None:
            body["max_tokens"] = min(limit, self.ctx_len)

    def _check_parses_tools(self) -> None:
        """VLLM refuses this too; what its model writes would be told as prose, calls included."""
        if not self.parses_tools:
            message = (
                "This model cannot choose whether to call a tool: nothing here reads its tool calls. Set "
                "'tool_call_parser' in its settings (hermes, llama3_json, mistral ...), or send 'tool_choice' as "
                "'required', 'none' or a function's name."
            )
            raise InvalidArgumentError(message, param="tool_choice", code="unsupported_parameter")

    def _force(self, body: dict[str, Any], request: Mapping[str, Any], forced: ForcedCall) -> None:
        if self.template_has_tools and self.parses_tools:
            body |= {"tools": request["tools"], "tool_choice": "none"}  # shown to the model, while the schema binds
        else:
            body["messages"] = forced.told_to(request["messages"])


def _format_of(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}}


def _allow_equal_choices(body: dict[str, Any]) -> None:
    """VLLM refuses several choices that would be the same. They are all the same this way too."""
    if body.get("n", 1) > 1 and body.get("temperature", 1.0) < _GREEDY_BELOW:
        body |= {"temperature": 1.0, "top_k": 1}

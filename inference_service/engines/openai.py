"""A model that somebody else serves: any OpenAI-compatible URL. There is nothing to start."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from inference_service.answers.continuation import CHAT_FIELDS
from inference_service.answers.embeddings import batches
from inference_service.answers.tokens import TokenQuestion, Tokens
from inference_service.engines.client import EngineClient
from inference_service.engines.engine import ChatCall, CompletionCall, Connection, EmbedCall
from inference_service.engines.model_settings import ModelSettings
from inference_service.remote_keys import RemoteKeys
from jan.errors import FailedPreconditionError, InternalError, InvalidArgumentError
from jan.inference.v1.jobs_pb2 import ModelSpec

_DEFAULT_N_PARALLEL: Final = 64

_FIELDS: Final = frozenset(
    {
        *("messages", "n", "stop", "seed", "temperature", "top_p", "max_tokens", "max_completion_tokens", "logprobs"),
        *("top_logprobs", "presence_penalty", "frequency_penalty", "logit_bias", "response_format", "tools"),
        *("tool_choice", "parallel_tool_calls", "reasoning_effort", *CHAT_FIELDS),
        *("verbosity", "prediction", "web_search_options"),
    }
)
"""What is passed on: OpenAI's own fields, without those that name the person asking (`user`, `metadata`)."""


_COMPLETION_FIELDS: Final = frozenset(
    {
        *("prompt", "n", "stop", "seed", "temperature", "top_p", "max_tokens", "logprobs", "echo", "suffix"),
        *("presence_penalty", "frequency_penalty", "logit_bias"),
    }
)


class OpenAiEngine:
    """One model of a remote server, called with the key that is kept for its origin, or without one."""

    def __init__(self, spec: ModelSpec, keys: RemoteKeys | None = None) -> None:
        """Raises FailedPreconditionError: the model has no usable URL or settings."""
        url = spec.source_url.rstrip("/")
        if not _is_http(url):
            message = f"Model {spec.id} needs the http(s) base URL of its server as its source."
            raise FailedPreconditionError(message, code="model_settings_invalid")
        settings = ModelSettings(spec.settings_json)
        self._continues = settings.flag("continue_final_message", False)
        settings.skip("embedding")  # heeded by the gateway, which lets no other model answer chats by default
        self._model_id = spec.id
        self._slots = settings.integer("n_parallel", _DEFAULT_N_PARALLEL, 1, 4_096)
        self._model = settings.text("model") or spec.id
        self._warnings = settings.finish("openai")
        key = keys.for_url(url) if keys is not None else None
        self._connection = Connection(url, headers={"Authorization": f"Bearer {key}"} if key is not None else {})

    @property
    def slots(self) -> int:
        """Setting `n_parallel`: how much of the remote server we take at once."""
        return self._slots

    @property
    def ctx_len(self) -> None:
        """Its server knows."""
        return

    @property
    def is_local(self) -> bool:
        """The model is elsewhere."""
        return False

    @property
    def warnings(self) -> tuple[str, ...]:
        """What of the settings was not honoured."""
        return self._warnings

    @property
    def pid(self) -> None:
        """There is no process here."""
        return None

    def progress(self) -> None:
        """Nothing is loaded."""
        return

    @property
    def activity(self) -> str:
        """It says nothing of that."""
        return ""

    @property
    def sleeper(self) -> None:
        """It takes no memory here."""
        return None

    async def start(self) -> Connection:
        """Nothing to do: whether the server answers shows with the first job."""
        return self._connection

    async def stop(self) -> None:
        """Nothing to end."""

    async def wait_exit(self) -> str:
        """Never returns: what happens over there is told by each request."""
        forever: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        return await forever

    def chat_call(self, request: Mapping[str, Any]) -> ChatCall:
        """The request under the remote model's name; streamed when the client wants a stream."""
        return ChatCall(self._body(request, _FIELDS), streams=bool(request.get("stream")))

    def continues(self, said: str) -> bool:
        """Setting `continue_final_message`: the server is a vLLM or llama.cpp, since OpenAI's own API cannot."""
        return self._continues

    def completion_call(self, request: Mapping[str, Any]) -> CompletionCall:
        """As a chat; one prompt is sent as such, since not every server knows lists."""
        body = self._body(request, _COMPLETION_FIELDS)
        if len(request["prompt"]) == 1:
            body["prompt"] = request["prompt"][0]
        return CompletionCall(body, streams=bool(request.get("stream")))

    async def tokenize(self, client: EngineClient, question: TokenQuestion) -> Tokens:
        """OpenAI's API cannot be asked that, but a server that goes on with answers counts the tokens of a text.

        Raises InvalidArgumentError.
        """
        if not self._continues or question.chat is not None or question.pieces:
            raise _no_tokens(self._model_id)
        flags = {"add_special_tokens": question.add_special, "add_special": question.add_special}
        body = {"model": self._model, "prompt": question.text, "content": question.text, **flags}
        try:
            return Tokens((await client.post("/tokenize", body))["tokens"])
        except (ValueError, KeyError, TypeError) as error:
            raise InternalError("The model's server said something that is no list of tokens.") from error

    async def detokenize(self, client: EngineClient, tokens: Sequence[int]) -> str:
        """OpenAI's API cannot be asked that. Raises InvalidArgumentError."""
        raise _no_tokens(self._model_id)

    def embed_call(self, request: Mapping[str, Any]) -> EmbedCall:
        """The request under the remote model's name; whether it embeds is for its server to say."""
        more = {"dimensions": request["dimensions"]} if request.get("dimensions") is not None else {}
        bodies = [{"model": self._model, "input": inputs, **more} for inputs in batches(request["input"])]
        return EmbedCall(bodies)

    def _body(self, request: Mapping[str, Any], fields: frozenset[str]) -> dict[str, Any]:
        body = {key: value for key, value in request.items() if key in fields and value is not None}
        body["model"] = self._model
        if request.get("stream"):
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        return body


def _no_tokens(model_id: str) -> InvalidArgumentError:
    message = f"Model {model_id} runs elsewhere, and its server tells nothing of its tokens."
    return InvalidArgumentError(message, param="model", code="tokens_unknown")


def _is_http(url: str) -> bool:
    """Whether a URL can be asked; a name and password in it would be a key that is kept in the janroot."""
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.username is None and parts.port != 0
    except ValueError:
        return False

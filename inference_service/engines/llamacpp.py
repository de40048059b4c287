"""llama.cpp for GGUF files: a child process around the `xllamacpp` wheel's own HTTP server, on a unix socket."""

from __future__ import annotations

import asyncio
import secrets
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final

from inference_service.answers.binding import Binding, answer_schema
from inference_service.answers.continuation import CHAT_FIELDS, keeps
from inference_service.answers.embeddings import batches
from inference_service.answers.forced_calls import ForcedCall
from inference_service.answers.schema_trial import SchemaTrial
from inference_service.answers.strict_calls import StrictTools
from inference_service.answers.tokens import TokenQuestion, Tokens
from inference_service.devices.memory import resident_bytes
from inference_service.engines import llamacpp_tokens
from inference_service.engines.client import EngineClient
from inference_service.engines.engine import ChatCall, CompletionCall, Connection, EmbedCall
from inference_service.engines.grammar_cost import check_tools
from inference_service.engines.images import check_images
from inference_service.engines.llamacpp_fim import FimTokens, find_fim, with_suffix
from inference_service.engines.llamacpp_log import cause_of, unknown_architecture
from inference_service.engines.llamacpp_server import KEY_VARIABLE, POOLINGS
from inference_service.engines.llamacpp_thoughts import Thoughts
from inference_service.engines.log import log_name
from inference_service.engines.model_settings import ModelSettings
from inference_service.engines.plain_text import PlainText
from inference_service.engines.process import EngineProcess, ProcessExitedError, describe_exit
from inference_service.engines.prompt_template import ChatTemplate, add_stops, chat_template
from inference_service.engines.purpose import check_embeds
from inference_service.engines.sockets import new_socket
from inference_service.engines.stuck import StuckWatch, Verdicts
from inference_service.engines.template_check import TemplateCheck
from inference_service.memory.placement import Placement
from inference_service.weights.gguf_files import GgufFiles
from jan.errors import FailedPreconditionError, InvalidArgumentError, JanError, UnavailableError
from jan.formats.description import UNKNOWN, USUAL_CTX_LEN, LyingHeaderError, ModelDescription, usual_ctx_len
from jan.formats.gguf import read_gguf
from jan.formats.gguf_texts import chat_templates, special_tokens
from jan.inference.v1.jobs_pb2 import ModelSpec
from jan.telemetry import get_logger

logger = get_logger(__name__)

_DEFAULT_N_PARALLEL: Final = 4

_CACHE_TYPES: Final = ("f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl", "f32")
"""What the KV cache may be stored as, the default first."""

SAMPLING: Final = (
    *("top_k", "min_p", "typical_p", "repeat_penalty", "repeat_last_n", "min_keep", "ignore_eos"),
    *("mirostat", "mirostat_tau", "mirostat_eta", "dynatemp_range", "dynatemp_exponent"),
)
"""Jan's and llama.cpp's own parameters of sampling, in llama.cpp's spelling."""

_FIELDS: Final = frozenset(
    {
        *("messages", "max_tokens", "n", "stop", "seed", "temperature", "top_p", "logprobs", "top_logprobs"),
        *("presence_penalty", "frequency_penalty", "logit_bias"),
        *("tools", "tool_choice", "parallel_tool_calls"),
        *SAMPLING,
        *CHAT_FIELDS,
    }
)
"""What a client may say to llama.cpp. Its server knows many more fields, some of them not for strangers: a template or
a grammar of one's own, slot numbers, files."""

_COMPLETION_FIELDS: Final = frozenset(
    {
        *("prompt", "max_tokens", "n", "stop", "seed", "temperature", "top_p", "logprobs"),
        *("presence_penalty", "frequency_penalty", "logit_bias"),
        *SAMPLING,
    }
)


@dataclass(frozen=True, slots=True)
class LlamaSettings:
    """The settings map: what model.json says, in llama.cpp's terms. `ctx_len` is in tokens for each request."""

    ctx_len: int
    n_parallel: int
    ngl: int | None
    cpu_threads: int | None
    embedding: bool
    pooling: str
    cont_batching: bool
    chat_template: ChatTemplate
    cache_type: str
    warnings: tuple[str, ...]

    @classmethod
    def parse(cls, settings_json: str, usual: int = USUAL_CTX_LEN) -> LlamaSettings:
        """Read a model's settings; `usual` is its context where they say none.

        Raises FailedPreconditionError: they are no JSON object.
        """
        settings = ModelSettings(settings_json)
        # Storage made the list of files from these, or they are the same said again.
        settings.skip("llama_model_path", "model_path", "mmproj", "vision_model", "text_model")
        settings.text("base_model")  # storage looked it up
        return cls(
            ctx_len=settings.integer("ctx_len", usual, 16, 10_000_000),
            n_parallel=settings.integer("n_parallel", _DEFAULT_N_PARALLEL, 1, 256),
            ngl=settings.optional_integer("ngl", 0, 10_000),
            cpu_threads=settings.optional_integer("cpu_threads", 1, 1_024),
            embedding=settings.flag("embedding", False),
            pooling=settings.choice("pooling", ("", *POOLINGS)),
            cont_batching=settings.flag("cont_batching", True),
            chat_template=chat_template(settings),
            cache_type=settings.choice("cache_type", _CACHE_TYPES),
            warnings=settings.finish("llamacpp"),
        )

    def arguments(self) -> list[str]:
        """The child's command line. `--name=value` in one piece, so that no value can pass for an option."""
        arguments = [f"--ctx-len={self.ctx_len}", f"--n-parallel={self.n_parallel}"]
        if self.ngl is not None:
            arguments.append(f"--ngl={self.ngl}")
        if self.cpu_threads is not None:
            arguments.append(f"--cpu-threads={self.cpu_threads}")
        if self.chat_template.jinja:
            arguments.append(f"--chat-template={self.chat_template.jinja}")
        if self.cache_type != _CACHE_TYPES[0]:
            arguments.append(f"--cache-type={self.cache_type}")
        if self.embedding:
            arguments.append("--embedding")
            if self.pooling:
                arguments.append(f"--pooling={self.pooling}")
        if not self.cont_batching:
            arguments.append("--no-cont-batching")
        return arguments


class LlamaCppEngine:
    """One GGUF model in one child process."""

    def __init__(
        self,
        spec: ModelSpec,
        files: GgufFiles,
        placement: Placement,
        run_dir: Path,
        load_timeout: timedelta,
        *,
        description: ModelDescription = UNKNOWN,
        copy: int = 0,
    ) -> None:
        """`files` were checked already, and tell `description`. Raises FailedPreconditionError: unusable settings."""
        self._model_id = spec.id
        self._settings = LlamaSettings.parse(spec.settings_json, usual_ctx_len(description))
        self._files = files.model
        self._weights = weights = files.model[0]
        self._placement = placement
        key = secrets.token_urlsafe(24)
        self._socket = new_socket(run_dir)
        argv = [sys.executable, "-m", "inference_service.engines.llamacpp_server"]
        argv += [f"--socket={self._socket}", f"--model={weights}", *self._settings.arguments()]
        if files.adapter is not None:
            argv.append(f"--adapter={files.adapter}")
        if files.projector is not None:
            argv.append(f"--mmproj={files.projector}")
        self._sees = files.projector is not None
        if placement.shares and not placement.on_gpu:
            argv.append(f"--memory-bytes={sum(share.size_bytes for share in placement.shares)}")
        self._log_name = log_name(spec.id, copy)
        environment = {KEY_VARIABLE: key, **placement.environment}
        self._log_path = run_dir / "logs" / self._log_name
        self._process = EngineProcess(argv, environment, self._log_path)
        self._connection = Connection("http://engine/v1", self._socket, {"Authorization": f"Bearer {key}"})
        self._load_timeout = load_timeout
        self._template_has_tools = False
        self._thoughts = Thoughts()
        self._schemas = SchemaTrial()
        self._plain = PlainText()
        self._metadata: Mapping[str, Any] = {}
        self._fim: FimTokens | None = None
        self._template = ""
        self._templates: dict[str, str] = {}
        self._check = TemplateCheck.in_llamacpp(run_dir)

    @property
    def slots(self) -> int:
        """`n_parallel`."""
        return self._settings.n_parallel

    @property
    def ctx_len(self) -> int:
        """The setting."""
        return self._settings.ctx_len

    @property
    def is_local(self) -> bool:
        """Weights and KV cache are here."""
        return True

    @property
    def warnings(self) -> tuple[str, ...]:
        """What of the settings was not honoured."""
        return self._settings.warnings

    @property
    def pid(self) -> int | None:
        """The child's process id; None before the start."""
        return self._process.pid

    def progress(self) -> float | None:
        """The part of the weights that is in memory, of which llama.cpp says nothing itself."""
        pid = self._process.pid
        if pid is None:
            return None
        return min(0.99, resident_bytes(pid) / max(1, sum(path.stat().st_size for path in self._files)))

    @property
    def activity(self) -> str:
        """It says nothing of that."""
        return ""

    @property
    def sleeper(self) -> None:
        """It cannot sleep."""
        return None

    async def start(self) -> Connection:
        """Load the model.

        Raises UnavailableError: why it could not be loaded. FailedPreconditionError: its chat template is not safe.
        """
        await asyncio.to_thread(self._prepare)
        await self._check.check(self._model_id, self._templates, self._settings.chat_template.jinja, self._log_path)
        async with EngineClient(self._connection) as client:
            try:
                await self._process.start(client.is_healthy, self._load_timeout)
            except ProcessExitedError as exited:
                raise self._start_failed(exited) from None
            try:
                properties = await client.get_json("/props")
                self._template = str(properties.get("chat_template", ""))
                self._thoughts = await Thoughts.of(client, self._template)
                self._fim = await find_fim(client, self._metadata)
            except UnavailableError as silent:
                await self.stop()
                message = self._ended("The engine started, but does not answer.", [str(silent.__cause__)])
                raise UnavailableError(message, code="engine_start_failed", retry_after_seconds=5) from None
        self._template_has_tools = bool(properties.get("chat_template_caps", {}).get("supports_tool_calls"))
        return self._connection

    async def stop(self) -> None:
        """End the child and everything it started."""
        await self._process.stop()
        await asyncio.to_thread(self._socket.unlink, missing_ok=True)

    async def wait_exit(self) -> str:
        """What to say of a child that ended by itself, or was ended because it was stuck."""
        async with EngineClient(self._connection) as client:
            watch = StuckWatch(Verdicts(self._connection.traffic, self.slots), partial(busy_slots, client))
            how = await watch.wait_exit(self._process)
        return self._ended(how, await self._process.last_words())

    def chat_call(self, request: Mapping[str, Any]) -> ChatCall:
        """A chat request for llama.cpp; always streamed, because only then does a closed connection free the slot.

        Raises InvalidArgumentError: more choices than slots, a tool that would hold up everybody, or an image that
        cannot be seen.
        """
        check_images(request["messages"], self._model_id, sees=self._sees)
        body = {key: value for key, value in request.items() if key in _FIELDS and value is not None}
        if request.get("max_completion_tokens") is not None:
            body["max_tokens"] = request["max_completion_tokens"]
        self._check_choices(body)
        if (effort := request.get("reasoning_effort")) is not None:
            # The two names that chat templates of thinking models know; others look at neither.
            body["chat_template_kwargs"] = {"reasoning_effort": effort, "enable_thinking": effort != "none"}
        forced = ForcedCall.of(request, answer_schema(request))
        binding = Binding.of(request, forced, compact=self._thoughts.are_known)
        if forced is not None:
            # It binds a call only for templates it was taught, so the schema does. The tools are shown all the same.
            if self._template_has_tools:
                body["tool_choice"] = "none"
            else:
                for field in ("tools", "tool_choice", "parallel_tool_calls"):
                    body.pop(field, None)
                body["messages"] = forced.told_to(request["messages"])
        elif binding is None:
            check_tools(request)
            add_stops(body, self._settings.chat_template.stops)
        elif body.get("tools"):
            body["tool_choice"] = "none"  # it takes no grammar for an answer that may be a call
        body = self._plain.chat(body)
        body |= {"stream": True, "stream_options": {"include_usage": True}}
        binds_by = partial(self._thoughts.bind, wanted=effort != "none")
        strict = StrictTools.of(request) if forced is None else None
        return ChatCall(
            body,
            streams=True,
            forced=forced,
            binding=binding,
            binds_by=binds_by,
            trial=self._schemas,
            strict=strict,
        )

    def continues(self, said: str) -> bool:
        """Unless the template trims it."""
        return keeps(self._template, said)

    def completion_call(self, request: Mapping[str, Any]) -> CompletionCall:
        """A text completion for llama.cpp, always streamed; it does not echo, so that is done here.

        Raises InvalidArgumentError: it cannot do what was asked.
        """
        body = {key: value for key, value in request.items() if key in _COMPLETION_FIELDS and value is not None}
        self._check_choices(body)
        if request.get("suffix"):
            body["prompt"] = with_suffix(self._fim, body["prompt"], request["suffix"])
        if body.get("max_tokens") == 0:
            body["max_tokens"] = 1  # it writes one at least, which `completions.py` drops
        echo: list[str] = request["prompt"] if request.get("echo") else []
        if echo and (body.get("logprobs") is not None or not isinstance(echo[0], str)):
            message = "This model can repeat a prompt of text without log probabilities only; leave 'echo' out."
            raise InvalidArgumentError(message, param="echo", code="unsupported_parameter")
        if body.get("logprobs") == 0:
            body["logprobs"] = 1  # none would mean no log probabilities at all
        body |= {"stream": True, "stream_options": {"include_usage": True}}
        return CompletionCall(body, streams=True, echo=echo)

    async def tokenize(self, client: EngineClient, question: TokenQuestion) -> Tokens:
        """See `llamacpp_tokens.py`."""
        return await llamacpp_tokens.tokenize(client, question.told_by(self._plain.chat))

    async def detokenize(self, client: EngineClient, tokens: Sequence[int]) -> str:
        """See `llamacpp_tokens.py`."""
        return await llamacpp_tokens.detokenize(client, tokens)

    def embed_call(self, request: Mapping[str, Any]) -> EmbedCall:
        """An embeddings request for llama.cpp, whose vectors are always whole.

        Raises InvalidArgumentError: the model's setting `embedding` is not true.
        """
        check_embeds(self._settings.embedding, self._model_id)
        shared = {"encoding_format": "base64"}
        return EmbedCall([{**shared, "input": inputs} for inputs in batches(request["input"])])

    def _prepare(self) -> None:
        self._socket.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            with self._weights.open("rb") as file:
                header = read_gguf(file, self._weights.stat().st_size)
                self._metadata = header.values
                self._templates = chat_templates(file, header)
                templates = [*self._templates.values(), self._settings.chat_template.jinja]
                self._plain = PlainText(special_tokens(file, header, templates))
        except LyingHeaderError:
            pass  # the engine will not open it either, and says why

    def _check_choices(self, body: Mapping[str, Any]) -> None:
        if body.get("n", 1) > self.slots:
            raise InvalidArgumentError(
                f"'n' is {body['n']}, but this model answers at most {self.slots} at once (its setting n_parallel).",
                param="n",
            )

    def _start_failed(self, exited: ProcessExitedError) -> JanError:
        never = unknown_architecture("\n".join(exited.lines))
        if never:
            return FailedPreconditionError(self._ended(never, exited.lines), code="model_unsupported")
        reason = cause_of("\n".join(exited.lines), self._placement)
        what = reason or f"The engine {describe_exit(exited.returncode)} while it was loading."
        message = self._ended(what, exited.lines)
        code = "engine_start_failed" if reason else exited.code
        return UnavailableError(message, code=code, retry_after_seconds=5)

    def _ended(self, what: str, lines: Sequence[str]) -> str:
        """For clients: what happened and where more is said. The engine's own words may tell paths: for our log."""
        logger.warning("engine ended", reason=what, last_lines=[line[:300] for line in lines[-3:]])
        return f"{what} Its log {self._log_name} says more."


async def busy_slots(client: EngineClient) -> int:
    """How many requests a llama.cpp works on. Raises UnavailableError: it does not answer."""
    return sum(slot["is_processing"] for slot in await client.get_json("/slots"))

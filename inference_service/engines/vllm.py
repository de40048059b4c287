"""vLLM for safetensors: its own OpenAI server as a child process, on a unix socket.

Its `vllm` command is not used, since that of the CPU build fails; the module behind it is the same server.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final

from inference_service.answers.continuation import keeps
from inference_service.answers.tokens import TokenQuestion, Tokens
from inference_service.engines import vllm_sleep, vllm_tokens
from inference_service.engines.client import EngineClient
from inference_service.engines.cpu import default_threads
from inference_service.engines.engine import ChatCall, CompletionCall, Connection, EmbedCall
from inference_service.engines.images import MOST_IMAGES
from inference_service.engines.log import log_name
from inference_service.engines.plain_text import PlainText
from inference_service.engines.process import EngineProcess, ProcessExitedError, describe_exit
from inference_service.engines.purpose import check_embeds
from inference_service.engines.sockets import new_socket
from inference_service.engines.stuck import StuckWatch, Verdicts
from inference_service.engines.template_check import TemplateCheck
from inference_service.engines.vllm_log import VllmLog
from inference_service.engines.vllm_request import VllmRequests
from inference_service.engines.vllm_settings import VllmSettings, structured_outputs
from inference_service.engines.vllm_sleep import VllmSleep
from inference_service.memory.placement import Placement
from inference_service.weights.hf_folder import SafetensorsModel
from jan.errors import FailedPreconditionError, JanError, UnavailableError
from jan.formats.description import usual_ctx_len
from jan.inference.v1.jobs_pb2 import ModelSpec
from jan.telemetry import get_logger

logger = get_logger(__name__)

SERVER: Final = "vllm.entrypoints.openai.api_server"
_BASE_NAME: Final = "model"
_ADAPTER_NAME: Final = "adapter"
_MAX_LOGPROBS: Final = 21  # OpenAI's 20, and one more: see `vllm_request.py`
_KV_BLOCK_TOKENS: Final = 128  # the largest that vLLM takes by itself
_LORA_RANKS: Final = (8, 16, 32, 64, 128, 256, 320, 512)  # what --max-lora-rank may be
_POLL_SECONDS: Final = 0.25  # it takes from twenty seconds to minutes
_MUTE_SECONDS: Final = 120.0  # its server answers at once, whatever the model is doing
_UNKNOWN_KV_BYTES: Final = 4 * 2**30
_IMAGE_CACHE_GB: Final = 0.5  # of RAM; its own default is 4
_NOWHERE: Final = "nowhere.invalid"  # no host has a name that ends so (RFC 2606)

_UNDER_WAY: Final = ("vllm:num_requests_running{", "vllm:num_requests_waiting{")

_QUIET: Final = {
    # Nothing of it may call home or fetch anything: what a model needs is in its folder.
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "PYTHONUNBUFFERED": "1",
}


class VllmEngine:
    """One model in one vLLM server with its core and workers."""

    def __init__(
        self,
        spec: ModelSpec,
        model: SafetensorsModel,
        placement: Placement,
        *,
        python: Path,
        run_dir: Path,
        load_timeout: timedelta,
        copy: int = 0,
    ) -> None:
        """`python` has vLLM. Raises FailedPreconditionError: unusable settings."""
        self._settings = VllmSettings.parse(spec.settings_json)
        self._model_id = spec.id
        self._load_timeout = load_timeout
        self._vocabulary = model.base.description.vocabulary
        key = secrets.token_urlsafe(24)
        self._socket = new_socket(run_dir)
        self._template_file = self._socket.with_suffix(".jinja")
        self._log_name = log_name(spec.id, copy)
        self._log_path = run_dir / "logs" / self._log_name
        self._templates = model.templates
        self._check = TemplateCheck.in_vllm(python, run_dir)
        self._log = VllmLog()
        command = VllmCommand(self._settings, model, placement)
        self._warnings = command.warnings
        self._sleeper = VllmSleep(load_timeout) if command.sleeps else None
        argv = [str(python), "-I", "-m", SERVER, f"--uds={self._socket}", *command.arguments()]
        if self._settings.template.jinja:
            argv.append(f"--chat-template={self._template_file}")
        self._process = EngineProcess(
            argv,
            {**_QUIET, "VLLM_API_KEY": key, **command.environment()},
            self._log_path,
            has_children=True,
            scratch_in=run_dir / "engines",
            poll_seconds=_POLL_SECONDS,
            on_line=self._log.hear,
        )
        self._connection = Connection("http://engine/v1", self._socket, {"Authorization": f"Bearer {key}"})
        self._template = template = self._settings.template.jinja or model.base.template
        self._requests = VllmRequests(
            model=_ADAPTER_NAME if model.adapter else _BASE_NAME,
            ctx_len=command.ctx_len,
            template_has_tools="tools" in template,
            parses_tools=bool(self._settings.parser_for(template)),
            embeds=self._settings.embedding,
            sees=command.sees,
            model_id=spec.id,
            stops=self._settings.template.stops,
            plain=PlainText(model.special_tokens),
        )

    @property
    def slots(self) -> int:
        """`n_parallel` of each data parallel rank."""
        return self._settings.n_parallel * (self._settings.data_parallel or 1)

    @property
    def ctx_len(self) -> int:
        """The setting, else the model's own within reason."""
        return self._requests.ctx_len

    @property
    def is_local(self) -> bool:
        """Weights and KV cache are here."""
        return True

    @property
    def warnings(self) -> tuple[str, ...]:
        """What of the settings was not honoured."""
        return self._warnings

    @property
    def pid(self) -> int | None:
        """The process that leads the group of the server, its core and its workers; None before the start."""
        return self._process.pid

    @property
    def activity(self) -> str:
        """What it does while it starts, in words: `loading weights 40 %`."""
        return self._log.activity

    @property
    def sleeper(self) -> VllmSleep | None:
        """With the setting `sleep`, on GPUs."""
        return self._sleeper

    def progress(self) -> float:
        """How much of the start is done, 0 to 1, as far as its log tells."""
        return self._log.progress

    async def start(self) -> Connection:
        """Load the model.

        Raises UnavailableError: why it could not be loaded. FailedPreconditionError: why it never can be, as it is.
        """
        self._log.begin()
        await asyncio.to_thread(self._prepare)
        await self._check.check(self._model_id, self._templates, self._settings.template.jinja, self._log_path)
        async with EngineClient(self._connection) as client:
            try:
                await self._process.start(client.is_healthy, self._load_timeout)
            except ProcessExitedError as exited:
                raise self._start_failed(exited) from None
        return self._connection

    async def stop(self) -> None:
        """End the server and everything it started."""
        await self._process.stop()
        for path in (self._socket, self._template_file):
            await asyncio.to_thread(path.unlink, missing_ok=True)

    async def wait_exit(self) -> str:
        """What to say of a server that ended by itself, or was ended because it was stuck."""
        async with EngineClient(self._connection) as client:
            verdicts = Verdicts(self._connection.traffic, self.slots, mute_seconds=_MUTE_SECONDS)
            how = await StuckWatch(verdicts, partial(busy_requests, client)).wait_exit(self._process)
        return self._ended(self._log.cause or how, await self._process.last_words())

    def chat_call(self, request: Mapping[str, Any]) -> ChatCall:
        """See `vllm_request.py`."""
        return self._requests.chat_call(request)

    def continues(self, said: str) -> bool:
        """Unless the template trims it, or it both begins and ends with a space, which makes transformers trim it.

        What comes out of a parser of thoughts would be taken for thoughts again.
        """
        spaced = said != said.lstrip() and said != said.rstrip()
        return keeps(self._template, said) and not spaced and not self._settings.reasoning_parser

    def completion_call(self, request: Mapping[str, Any]) -> CompletionCall:
        """See `vllm_request.py`."""
        return self._requests.completion_call(request)

    async def tokenize(self, client: EngineClient, question: TokenQuestion) -> Tokens:
        """See `vllm_tokens.py`."""
        plain = question.told_by(self._requests.plain.chat)
        return await vllm_tokens.tokenize(client, self._requests.model, plain)

    async def detokenize(self, client: EngineClient, tokens: Sequence[int]) -> str:
        """See `vllm_tokens.py`. Raises InvalidArgumentError: the model has no such token; vLLM passes those over."""
        if self._vocabulary and any(token >= self._vocabulary for token in tokens):
            raise vllm_tokens.no_such_token()
        return await vllm_tokens.detokenize(client, self._requests.model, tokens)

    def embed_call(self, request: Mapping[str, Any]) -> EmbedCall:
        """See `vllm_request.py`. Raises InvalidArgumentError: it is not loaded as a pooling model."""
        check_embeds(self._settings.embedding, self._model_id)
        return self._requests.embed_call(request)

    def _prepare(self) -> None:
        self._socket.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self._settings.template.jinja:
            self._template_file.write_text(self._settings.template.jinja, encoding="utf-8")

    def _start_failed(self, exited: ProcessExitedError) -> JanError:
        what = self._log.cause or f"The engine {describe_exit(exited.returncode)} while it was loading."
        message = self._ended(what, exited.lines)
        if self._log.lasts:
            return FailedPreconditionError(message, code="model_settings_invalid")
        code = "engine_start_failed" if self._log.cause else exited.code
        return UnavailableError(message, code=code, retry_after_seconds=5)

    def _ended(self, what: str, lines: Sequence[str]) -> str:
        """For clients: what happened and where more is said. The engine's own words may tell paths: for our log."""
        logger.warning("engine ended", reason=what, last_lines=[line[:300] for line in lines[-3:]])
        return f"{what} Its log {self._log_name} says more."


async def busy_requests(client: EngineClient) -> int:
    """How many requests a vLLM says that it computes or lets wait. Raises UnavailableError: it does not answer."""
    lines = (await client.get_text("/metrics")).splitlines()
    return sum(int(float(line.rsplit(" ", 1)[1])) for line in lines if line.startswith(_UNDER_WAY))


@dataclass(frozen=True, slots=True)
class VllmCommand:
    """vLLM's command line and environment for a model on its devices. Pure but for counting cores."""

    settings: VllmSettings
    model: SafetensorsModel
    placement: Placement

    @property
    def ctx_len(self) -> int:
        """Tokens of context for each request."""
        return self.settings.ctx_len or usual_ctx_len(self.model.base.description)

    @property
    def tensor_parallel(self) -> int:
        """The setting, else the placement's."""
        return self.settings.tensor_parallel or self.placement.tensor_parallel

    @property
    def pipeline_parallel(self) -> int:
        """The setting, else the placement's."""
        return self.settings.pipeline_parallel or max(1, len(self.placement.stage_layers))

    @property
    def eager(self) -> bool:
        """Without compiling, which takes minutes on a CPU and gains little there."""
        return not self.placement.on_gpu if self.settings.enforce_eager is None else self.settings.enforce_eager

    @property
    def sleeps(self) -> bool:
        """Whether it is to sleep before it is unloaded."""
        return self.settings.sleep and self.placement.on_gpu

    @property
    def sees(self) -> bool:
        """Whether it takes images."""
        return self.model.base.description.sees and self.settings.sees and not self.settings.embedding

    @property
    def warnings(self) -> tuple[str, ...]:
        """What of the settings is not honoured, here."""
        if self.settings.sleep and not self.sleeps:
            return (*self.settings.warnings, "Setting sleep is not used on the CPU: vLLM sleeps on GPUs only.")
        return self.settings.warnings

    def arguments(self) -> list[str]:
        """Everything but where to listen."""
        arguments = [
            f"--model={self.model.base.folder}",
            f"--served-model-name={_BASE_NAME}",
            f"--max-model-len={self.ctx_len}",
            "--load-format=safetensors",
            f"--max-logprobs={_MAX_LOGPROBS}",
            "--enable-prompt-tokens-details",
            "--disable-uvicorn-access-log",
            "--disable-fastapi-docs",
            structured_outputs(),
            *self.settings.arguments(),
        ]
        if not self.placement.on_gpu and self.settings.dtype == "auto":
            arguments.append("--dtype=float32")  # bfloat16 is slower on most CPUs: those without AVX512-BF16 or AMX
        if self.eager:
            arguments.append("--enforce-eager")
        if self.tensor_parallel > 1:
            arguments.append(f"--tensor-parallel-size={self.tensor_parallel}")
        if self.pipeline_parallel > 1:
            arguments.append(f"--pipeline-parallel-size={self.pipeline_parallel}")
        if not (self.placement.on_gpu and self.settings.gpu_memory_utilization):
            arguments.append(f"--kv-cache-memory-bytes={self._kv_cache_bytes()}")
        if self.sleeps:
            arguments += vllm_sleep.FLAGS
        return [*arguments, *self._tool_arguments(), *self._adapter_arguments(), *self._image_arguments()]

    def _image_arguments(self) -> list[str]:
        """Images alone, so many, and from nowhere but the request; without eyes the part that sees is not loaded."""
        if not self.model.base.description.sees:
            return []
        most = {"image": MOST_IMAGES if self.sees else 0, "video": 0, "audio": 0}
        return [
            "--limit-mm-per-prompt=" + json.dumps(most),
            f"--mm-processor-cache-gb={_IMAGE_CACHE_GB}",
            f"--allowed-media-domains={_NOWHERE}",
        ]

    def environment(self) -> dict[str, str]:
        """What vLLM takes from its environment alone."""
        environment = dict(self.placement.environment)
        if self.settings.executor != "ray":
            environment["VLLM_HOST_IP"] = "127.0.0.1"  # its processes talk over loopback; with Ray over the network
        if self.placement.stage_layers:
            environment["VLLM_PP_LAYER_PARTITION"] = ",".join(map(str, self.placement.stage_layers))
        if self.sleeps:
            environment |= vllm_sleep.ENVIRONMENT
        if self.eager:
            environment["TORCH_COMPILE_DISABLE"] = "1"  # else the first log probabilities compile for half a minute
        if not self.placement.on_gpu:
            # vLLM ties the threads of every model to the same cores; the system spreads them better.
            environment["VLLM_CPU_OMP_THREADS_BIND"] = "nobind"
            environment["OMP_NUM_THREADS"] = str(self.settings.cpu_threads or default_threads())
        return environment

    def _kv_cache_bytes(self) -> int:
        """On each device, room for `n_parallel` requests of `ctx_len` tokens: what `fit` counts, and no more.

        Left to itself vLLM takes nearly all there is, also from models that are to run beside this one.
        """
        model = self.model.base.description
        if not model.kv_elements:
            return _UNKNOWN_KV_BYTES
        if self.settings.kv_cache_dtype.startswith("fp8"):
            number_bytes = 1
        elif self.settings.dtype in ("float32", "float") or (
            self.settings.dtype == "auto" and not self.placement.on_gpu
        ):
            number_bytes = 4
        else:
            number_bytes = 2
        blocks = -(-self.ctx_len // _KV_BLOCK_TOKENS) + 1
        total = model.kv_elements * number_bytes * blocks * _KV_BLOCK_TOKENS * self.settings.n_parallel
        per_layer_share = -(-total // min(self.tensor_parallel, max(1, model.kv_heads)))
        stages = self.placement.stage_layers if len(self.placement.stage_layers) == self.pipeline_parallel else ()
        if stages:
            return -(-per_layer_share * max(stages) // sum(stages))
        return -(-per_layer_share // self.pipeline_parallel)

    def _tool_arguments(self) -> list[str]:
        parser = self.settings.parser_for(self.settings.template.jinja or self.model.base.template)
        return ["--enable-auto-tool-choice", f"--tool-call-parser={parser}"] if parser else []

    def _adapter_arguments(self) -> list[str]:
        if self.model.adapter is None:
            return []
        wanted = max(self.model.adapter_rank, self.settings.max_lora_rank or 0)
        rank = next((allowed for allowed in _LORA_RANKS if allowed >= wanted), _LORA_RANKS[-1])
        module = json.dumps({"name": _ADAPTER_NAME, "path": str(self.model.adapter)})
        return ["--enable-lora", f"--max-lora-rank={rank}", f"--lora-modules={module}"]

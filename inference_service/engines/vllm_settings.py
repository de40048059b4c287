"""The settings of a model in vLLM's terms: a fixed schema, everything else is a warning."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from inference_service.engines.model_settings import ModelSettings
from inference_service.engines.prompt_template import ChatTemplate, chat_template

_DEFAULT_N_PARALLEL: Final = 8

_DTYPES: Final = ("auto", "bfloat16", "float16", "float32", "half", "float")
_KV_DTYPES: Final = ("auto", "bfloat16", "float16", "fp8", "fp8_e4m3", "fp8_e5m2")
_QUANTIZATIONS: Final = (
    *("", "awq", "awq_marlin", "gptq", "gptq_marlin", "fp8", "compressed-tensors", "bitsandbytes", "modelopt"),
    *("modelopt_fp4", "mxfp4", "quark", "torchao", "experts_int8", "moe_wna16"),
)

_TOOL_MARKS: Final = (
    ("<|python_tag|>", "llama3_json"),
    ("[TOOL_CALLS]", "mistral"),
    ("<function=", "qwen3_coder"),
    ("<tool_call>", "hermes"),
)
"""What a chat template writes around a tool call, and vLLM's parser for it, the telltale before the common."""


@dataclass(frozen=True, slots=True)
class VllmSettings:
    """What model.json says, with defaults; `ctx_len` is in tokens for each request, None fields are left to vLLM."""

    ctx_len: int | None
    n_parallel: int
    cpu_threads: int | None
    embedding: bool
    template: ChatTemplate
    dtype: str
    kv_cache_dtype: str
    quantization: str
    gpu_memory_utilization: float | None
    cpu_offload_gb: int | None
    tensor_parallel: int | None
    pipeline_parallel: int | None
    data_parallel: int | None
    executor: str
    enforce_eager: bool | None
    prefix_caching: bool
    max_batched_tokens: int | None
    tool_parser: str
    reasoning_parser: str
    base_model: str
    max_lora_rank: int | None
    seed: int | None
    sleep: bool
    sees: bool
    warnings: tuple[str, ...]

    @classmethod
    def parse(cls, settings_json: str) -> VllmSettings:
        """Read a model's settings. Raises FailedPreconditionError: they are no JSON object."""
        settings = ModelSettings(settings_json)
        settings.skip("llama_model_path", "model_path", "idle_seconds", "replicas", "text_model")  # heeded by others
        return cls(
            ctx_len=settings.optional_integer("ctx_len", 16, 10_000_000),
            n_parallel=settings.integer("n_parallel", _DEFAULT_N_PARALLEL, 1, 4_096),
            cpu_threads=settings.optional_integer("cpu_threads", 1, 1_024),
            embedding=settings.flag("embedding", False),
            template=chat_template(settings),
            dtype=settings.choice("dtype", _DTYPES),
            kv_cache_dtype=settings.choice("kv_cache_dtype", _KV_DTYPES),
            quantization=settings.choice("quantization", _QUANTIZATIONS),
            gpu_memory_utilization=settings.optional_fraction("gpu_memory_utilization"),
            cpu_offload_gb=settings.optional_integer("cpu_offload_gb", 0, 4_096),
            tensor_parallel=settings.optional_integer("tensor_parallel_size", 1, 64),
            pipeline_parallel=settings.optional_integer("pipeline_parallel_size", 1, 64),
            data_parallel=settings.optional_integer("data_parallel_size", 1, 64),
            executor=settings.choice("distributed_executor_backend", ("", "mp", "ray")),
            enforce_eager=settings.optional_flag("enforce_eager"),
            prefix_caching=settings.flag("enable_prefix_caching", True),
            max_batched_tokens=settings.optional_integer("max_num_batched_tokens", 16, 1_048_576),
            tool_parser=settings.word("tool_call_parser"),
            reasoning_parser=settings.word("reasoning_parser"),
            base_model=settings.text("base_model"),
            max_lora_rank=settings.optional_integer("max_lora_rank", 1, 512),
            seed=settings.optional_integer("seed", 0, 2**31 - 1),
            sleep=settings.flag("sleep", False),
            sees=settings.flag("vision_model", True),
            warnings=settings.finish("vllm"),
        )

    def arguments(self) -> list[str]:
        """The part of vLLM's command line that depends on settings alone; `--name=value` in one piece each."""
        given: Mapping[str, Any] = {
            "max-num-seqs": self.n_parallel,
            "dtype": self.dtype if self.dtype != "auto" else None,
            "kv-cache-dtype": self.kv_cache_dtype if self.kv_cache_dtype != "auto" else None,
            "quantization": self.quantization or None,
            "gpu-memory-utilization": self.gpu_memory_utilization,
            "cpu-offload-gb": self.cpu_offload_gb,
            "data-parallel-size": self.data_parallel,
            "distributed-executor-backend": self.executor or None,
            "max-num-batched-tokens": self.max_batched_tokens,
            "reasoning-parser": self.reasoning_parser or None,
            "seed": self.seed,
        }
        arguments = [f"--{name}={value}" for name, value in given.items() if value is not None]
        arguments.append("--enable-prefix-caching" if self.prefix_caching else "--no-enable-prefix-caching")
        if self.embedding:
            arguments += ["--runner=pooling", "--convert=embed"]
        return arguments

    def parser_for(self, template: str) -> str:
        """VLLM's parser of tool calls: the setting, else what the chat template gives away; "" for no tools."""
        if self.tool_parser or "tools" not in template:
            return self.tool_parser
        return next((parser for mark, parser in _TOOL_MARKS if mark in template), "")


def structured_outputs() -> str:
    """How vLLM keeps to a schema: without free whitespace, of which small models write until their limit."""
    return "--structured-outputs-config=" + json.dumps({"backend": "guidance", "disable_any_whitespace": True})

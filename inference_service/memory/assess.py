"""What a model asks of this host, from its files and settings; nothing is started."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from inference_service.devices.device import Device, DeviceKind
from inference_service.engines.model_settings import ModelSettings
from inference_service.memory.contexts import in_words, reduced_ctx_tokens
from inference_service.memory.fit import KV_BITS, EngineProfile, Footprint, estimate
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
    reduction: str = ""
    """Why the context is smaller than the usual one, for people; stands among the warnings too."""


def assess(
    spec: ModelSpec,
    homes: WeightHomes,
    default_idle_seconds: float | None,
    *,
    vllm_on_cpu: bool = False,
    described: ModelDescription | None = None,
    headers: Headers | None = None,
    devices: Sequence[Device] = (),
    correct: Callable[[Footprint], Footprint] = lambda estimated: estimated,
) -> Assessment:
    """Read the headers of a model's files, and its settings. Reads files: not for the event loop.

    vllm_on_cpu: the vLLM here was built for CPUs. described: what the headers say of a model that is not here.
    headers: what was read lately. devices: those that a context which no setting names must fit on; with none it is
    the usual one. correct: what earlier loads have taught.

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
    sized = _Sized(spec, described or _describe(spec, homes, headers or Headers()), profile, correct)
    return _with_demand(found, sized, devices)


@dataclass(frozen=True, slots=True)
class _Sized:
    """What the settings make of a model; of values that cannot be used the engine itself warns."""

    spec: ModelSpec
    model: ModelDescription
    profile: EngineProfile
    correct: Callable[[Footprint], Footprint]

    @property
    def written_ctx_tokens(self) -> int | None:
        """The context that somebody chose."""
        return ModelSettings(self.spec.settings_json).optional_integer("ctx_len", 16, 10_000_000)

    @property
    def n_parallel(self) -> int:
        """How many requests at once."""
        settings = ModelSettings(self.spec.settings_json)
        return settings.integer("n_parallel", self.profile.default_n_parallel, 1, 4_096)

    def demand(self, ctx_tokens: int) -> Demand:
        """What it needs for a context."""
        name = "kv_cache_dtype" if self.spec.engine == "vllm" else "cache_type"
        kv_type = ModelSettings(self.spec.settings_json).choice(name, tuple(KV_BITS))
        kv_type = self.profile.kv_type if kv_type == "auto" else kv_type
        footprint = estimate(
            self.model, self.profile, ctx_tokens=ctx_tokens, n_parallel=self.n_parallel, kv_type=kv_type
        )
        return Demand(key_of(self.spec), self.correct(footprint), self.profile.kinds, self.profile.shards)


def _with_demand(found: Assessment, sized: _Sized, devices: Sequence[Device]) -> Assessment:
    ctx_tokens = sized.written_ctx_tokens or usual_ctx_len(sized.model)
    reduced = None
    if sized.written_ctx_tokens is None and devices:
        reduced = reduced_ctx_tokens(ctx_tokens, sized.demand, devices)
    demand = replace(sized.demand(reduced or ctx_tokens), reduced_ctx_tokens=reduced or 0)
    reduction = in_words(ctx_tokens, reduced) if reduced else ""
    warnings = found.warnings + ((reduction,) if reduction else ())
    if not sized.model.kv_elements:
        warnings += ("The model's files do not tell the size of its KV cache, so its memory is underestimated.",)
    return Assessment(demand, found.hosting, warnings, reduced or ctx_tokens, sized.n_parallel, reduction)


def _describe(spec: ModelSpec, homes: WeightHomes, headers: Headers) -> ModelDescription:
    if spec.engine == "vllm":
        return headers.safetensors(spec, homes).base.description
    return headers.gguf(find_gguf(spec, homes))

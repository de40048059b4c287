"""How much memory a model needs: weights, KV cache, overhead. Pure functions of its description and settings."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Final

from inference_service.devices.device import DeviceKind
from jan.formats.description import ModelDescription

_MIB: Final = 2**20

KV_BITS: Final = {
    "auto": Fraction(16),
    "f16": Fraction(16),
    "bf16": Fraction(16),
    "float16": Fraction(16),
    "bfloat16": Fraction(16),
    "f32": Fraction(32),
    "q8_0": Fraction(17, 2),
    "q5_1": Fraction(6),
    "q5_0": Fraction(11, 2),
    "q4_1": Fraction(5),
    "q4_0": Fraction(9, 2),
    "iq4_nl": Fraction(9, 2),
    "fp8": Fraction(8),
    "fp8_e4m3": Fraction(8),
    "fp8_e5m2": Fraction(8),
}
"""Bits of one number in the KV cache, by the name that engines give its type."""


@dataclass(frozen=True, slots=True)
class EngineProfile:
    """What an engine needs beside weights and KV cache, and what it can run on.

    kinds: kinds of devices, the better first. shards: whether it spreads one model over several GPUs. batch_tokens:
    how many tokens it computes at once, which sizes its buffers. fixed_bytes: program and driver, on each device.
    growth_bytes: what it may come to hold long after loading.
    """

    kinds: tuple[DeviceKind, ...]
    shards: bool
    batch_tokens: int
    fixed_bytes: int
    growth_bytes: int = 0
    default_n_parallel: int = 4
    kv_type: str = "auto"
    """What the KV cache holds where the settings say nothing."""


@dataclass(frozen=True, slots=True)
class Footprint:
    """The memory of one copy of a model. overhead_bytes are needed on each device, growth_bytes of them only later."""

    weights_bytes: int
    kv_cache_bytes: int
    overhead_bytes: int
    growth_bytes: int = 0
    layers: int = 0
    attention_heads: int = 0
    kv_heads: int = 0

    @property
    def total_bytes(self) -> int:
        """All of it, on one device."""
        return self.weights_bytes + self.kv_cache_bytes + self.overhead_bytes

    def can_split(self, ways: int) -> bool:
        """Whether tensor parallelism can divide the attention among so many devices."""
        heads, kv_heads = self.attention_heads, self.kv_heads
        return heads > 0 and heads % ways == 0 and (kv_heads % ways == 0 or ways % max(1, kv_heads) == 0)

    def shard_bytes(self, ways: int) -> int:
        """What each device holds under tensor parallelism; KV heads that are too few to divide are repeated."""
        kv_ways = min(ways, max(1, self.kv_heads))
        return -(-self.weights_bytes // ways) - (-self.kv_cache_bytes // kv_ways) + self.overhead_bytes

    def layer_bytes(self) -> int:
        """What one layer holds, embeddings spread over all of them; at least a byte."""
        return max(1, -(-(self.weights_bytes + self.kv_cache_bytes) // max(1, self.layers)))

    def stage_bytes(self, layers: int) -> int:
        """What a device holds under pipeline parallelism, with so many of the layers."""
        return layers * self.layer_bytes() + self.overhead_bytes


def estimate(
    model: ModelDescription, profile: EngineProfile, *, ctx_tokens: int, n_parallel: int, kv_type: str = "auto"
) -> Footprint:
    """The footprint of a model for `n_parallel` requests of `ctx_tokens` tokens each.

    A `kv_type` that is not in KV_BITS counts as 16 bits.
    """
    kv_bits = model.kv_elements * ctx_tokens * n_parallel * KV_BITS.get(kv_type, KV_BITS["auto"])
    # The widest things computed for a batch: scores for the whole vocabulary, and a layer's feed-forward (4 x width).
    buffers = profile.batch_tokens * (model.vocabulary + 8 * model.embedding_length) * 4
    growth_bytes = profile.growth_bytes + model.vision_bytes
    return Footprint(
        weights_bytes=model.weights_bytes,
        kv_cache_bytes=-int(-kv_bits // 8),
        overhead_bytes=profile.fixed_bytes + buffers + growth_bytes,
        growth_bytes=growth_bytes,
        layers=model.layers,
        attention_heads=model.attention_heads,
        kv_heads=model.kv_heads,
    )


def corrected(footprint: Footprint, measured_overhead_bytes: int | None) -> Footprint:
    """The footprint with the overhead that loading has measured; headers are believed for the rest."""
    if measured_overhead_bytes is None:
        return footprint
    return replace(footprint, overhead_bytes=max(64 * _MIB, measured_overhead_bytes) + footprint.growth_bytes)


def overhead_of(footprint: Footprint, measured_bytes: int, devices: int) -> int:
    """The overhead of each device that a measured total leaves beside weights and KV cache; for `corrected`."""
    return max(0, measured_bytes - footprint.weights_bytes - footprint.kv_cache_bytes) // devices


def in_words(size_bytes: int) -> str:
    """A size for people: `1.5 GiB`, `640 MiB`."""
    return f"{size_bytes / 2**30:.1f} GiB" if size_bytes >= 2**30 else f"{-(-size_bytes // _MIB)} MiB"

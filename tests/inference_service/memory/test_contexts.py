"""The context of a model whose settings name none: the usual one, or what of it fits."""

from __future__ import annotations

import json
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from inference_service.devices.device import Device
from inference_service.memory.assess import Assessment, assess
from inference_service.memory.contexts import LEAST_CTX_TOKENS
from inference_service.memory.placement import choose
from inference_service.weights.files import WeightHomes
from jan.formats.description import ModelDescription, usual_ctx_len
from jan.inference.v1.jobs_pb2 import ModelSpec
from tests.inference_service.memory.test_placement import cpu, free, gpu

GIB = 2**30
NOWHERE = WeightHomes(Path("/nowhere"), Path("/nowhere"))
# A KV cache of 128 KiB for each token, as a model of eight billion parameters has.
EIGHT_B = ModelDescription(
    weights_bytes=5 * GIB,
    layers=32,
    attention_heads=32,
    kv_heads=8,
    kv_elements=65_536,
    embedding_length=4_096,
    vocabulary=128_256,
    context_tokens=131_072,
)

descriptions = st.builds(
    ModelDescription,
    weights_bytes=st.integers(GIB // 8, 40 * GIB),
    layers=st.integers(1, 80),
    attention_heads=st.sampled_from((8, 32, 64)),
    kv_heads=st.sampled_from((1, 2, 8)),
    kv_elements=st.integers(0, 500_000),
    embedding_length=st.integers(256, 8_192),
    vocabulary=st.integers(1_000, 200_000),
    context_tokens=st.sampled_from((0, 512, 2_048, 3_000, 4_096, 5_000, 8_192, 131_072)),
)
hosts = st.builds(
    lambda gpus, memory: [*(gpu(number, gib) for number, gib in enumerate(gpus)), cpu(memory)],
    st.lists(st.sampled_from((4, 8, 12, 24)), max_size=4),
    st.integers(1, 64),
)


def assessed(model: ModelDescription, devices: list[Device], engine: str = "llamacpp", **settings: int) -> Assessment:
    spec = ModelSpec(id="m", engine=engine, settings_json=json.dumps(settings))
    return assess(spec, NOWHERE, None, described=model, devices=devices)


def fits(found: Assessment, devices: list[Device]) -> bool:
    assert found.demand is not None
    return choose(found.demand, devices, free(devices)) is not None


@given(model=descriptions, devices=hosts, engine=st.sampled_from(("llamacpp", "vllm")))
def test_what_fits_with_the_least_context_is_never_refused_for_want_of_a_written_one(
    model: ModelDescription, devices: list[Device], engine: str
) -> None:
    found = assessed(model, devices, engine)
    usual = usual_ctx_len(model)
    with_least = assessed(model, devices, engine, ctx_len=LEAST_CTX_TOKENS)
    if fits(with_least, devices):
        assert fits(found, devices)
    assert min(usual, LEAST_CTX_TOKENS) <= found.ctx_tokens <= usual
    assert bool(found.reduction) == (found.ctx_tokens < usual)
    assert (found.reduction in found.warnings) == bool(found.reduction)
    if found.reduction:
        assert not fits(assessed(model, devices, engine, ctx_len=min(usual, 2 * found.ctx_tokens)), devices)


@given(model=descriptions, devices=hosts, written=st.integers(16, 200_000))
def test_a_context_that_somebody_wrote_is_never_changed(
    model: ModelDescription, devices: list[Device], written: int
) -> None:
    found = assessed(model, devices, ctx_len=written)
    assert (found.ctx_tokens, found.reduction) == (written, "")


def test_the_usual_context_is_halved_until_it_fits() -> None:
    # 8192 tokens for each of four requests need 4 GiB beside weights and overhead.
    told = [(found.ctx_tokens, found.reduction) for gib in (64, 8.5, 7.5) for found in [assessed(EIGHT_B, [cpu(gib)])]]
    assert [ctx_tokens for ctx_tokens, _ in told] == [8_192, 4_096, 2_048]
    assert told[0][1] == ""
    assert told[1][1].startswith("Its context is 4096 tokens instead of 8192, which do not fit in this host's memory")
    hopeless = assessed(EIGHT_B, [cpu(4)])
    assert (hopeless.ctx_tokens, hopeless.reduction) == (8_192, "")

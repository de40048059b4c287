"""A LoRA adapter is believed only where it fits: llama.cpp would abort, or say nothing."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path

import pytest

from jan.errors import FailedPreconditionError
from jan.formats.weights import describe_gguf_files
from tests.fixtures.gguf_files import Matrix, gguf, lora, lora_gguf, pair, text

QUERY = "blk.0.attn_q.weight"
EMBEDDING = "token_embd.weight"
EXPERTS = "blk.0.ffn_up_exps.weight"
FITTING = lora(QUERY, 8, 4, strength=1)


def zeros(*lengths: int) -> Matrix:
    count = 1
    for length in lengths:
        count *= length
    return Matrix(lengths, bytes(4 * count))


@pytest.fixture
def base(tmp_path: Path) -> Path:
    path = tmp_path / "base.gguf"
    about = pair("general.architecture", 8, text("llama"))
    matrices = {EMBEDDING: zeros(8, 16), QUERY: zeros(8, 4), EXPERTS: zeros(8, 4, 3)}
    path.write_bytes(gguf(about, 1, matrices))
    return path


def refusal(base: Path, adapter: bytes) -> str:
    path = base.with_name("tuned.gguf")
    path.write_bytes(adapter)
    with pytest.raises(FailedPreconditionError) as caught:
        describe_gguf_files([base], path)
    assert caught.value.code == "model_file_invalid"
    assert caught.value.message.isprintable()
    return caught.value.message


@pytest.mark.parametrize(
    "matrices",
    [
        FITTING,
        lora(QUERY, 8, 4, strength=1, rank=64),
        {f"{EMBEDDING}.lora_a": zeros(2, 16), f"{EMBEDDING}.lora_b": zeros(2, 8)},
        {f"{EXPERTS}.lora_a": zeros(8, 2, 3), f"{EXPERTS}.lora_b": zeros(2, 4, 3)},
    ],
    ids=["rank 1", "rank 64", "embedding", "experts"],
)
def test_what_fits_is_counted_with_its_base(base: Path, matrices: dict[str, Matrix]) -> None:
    path = base.with_name("tuned.gguf")
    path.write_bytes(lora_gguf(matrices))
    more_bytes = sum(len(matrix.data) for matrix in matrices.values())
    alone = describe_gguf_files([base])
    assert describe_gguf_files([base], path) == replace(alone, weights_bytes=alone.weights_bytes + more_bytes)


@pytest.mark.parametrize(
    ("matrices", "reason"),
    [
        ({}, "it has no matrices, so it would change nothing"),
        (lora("blk.9.attn_q.weight", 8, 4, strength=1), "it changes 'blk.9.attn_q.weight', which this model does not"),
        (
            lora(QUERY, 4, 8, strength=1),
            "its matrices for 'blk.0.attn_q.weight' are 4x1 and 1x8, and the model's is 8x4",
        ),
        (lora(QUERY, 8, 5, strength=1), "are 8x1 and 1x5, and the model's is 8x4"),
        ({**FITTING, f"{QUERY}.lora_b": zeros(2, 4)}, "are 8x1 and 2x4"),
        ({f"{QUERY}.lora_a": zeros(8, 1)}, "of its two matrices for 'blk.0.attn_q.weight' one is missing"),
        ({**FITTING, "blk.0.attn_norm.weight": zeros(8)}, "its 'blk.0.attn_norm.weight' is no matrix of a LoRA"),
        ({**FITTING, "a\nb.lora_a": zeros(8)}, r"for 'a\nb' one is missing"),
        ({name: replace(one, element_type=24) for name, one in FITTING.items()}, "are not F32, F16, BF16 or Q8_0"),
        (lora(EMBEDDING, 8, 16, strength=1), "are 8x1 and 1x16, and the model's is 8x16"),
        ({f"{EMBEDDING}.lora_a": zeros(2, 16), f"{EMBEDDING}.lora_b": zeros(3, 8)}, "are 2x16 and 3x8"),
        (lora(EXPERTS, 8, 4, strength=1), "and the model's is 8x4x3"),
        ({f"{EXPERTS}.lora_a": zeros(8, 2, 3), f"{EXPERTS}.lora_b": zeros(2, 4, 2)}, "are 8x2x3 and 2x4x2"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_reason(base: Path, matrices: dict[str, Matrix], reason: str) -> None:
    message = refusal(base, lora_gguf(matrices))
    assert message.startswith("tuned.gguf is no LoRA adapter for base.gguf: ")
    assert reason in message


def test_adapters_of_other_kinds_and_for_other_models_are_refused(base: Path) -> None:
    qwen = lora_gguf(FITTING, general_architecture="qwen2")
    assert "made for the architecture 'qwen2', and this one is 'llama'" in refusal(base, qwen)
    assert "its adapter.type is 'ia3'" in refusal(base, lora_gguf(FITTING, adapter_type="ia3"))
    assert "cut into parts" in refusal(base, lora_gguf(FITTING, split_count="3"))
    asked_for = pair("adapter.alora.invocation_tokens", 9, struct.pack("<IQI", 4, 1, 7))
    usual = lora_gguf(FITTING)
    alora = usual[:16] + struct.pack("<Q", 5) + asked_for + usual[24:]
    assert "activated LoRA" in refusal(base, alora + bytes(32))
    assert "whole model and no LoRA adapter" in refusal(base, base.read_bytes())
    assert "tuned.gguf is not a usable model: it is cut off" in refusal(base, lora_gguf(FITTING)[:-40])


def test_an_adapter_is_no_model(base: Path) -> None:
    adapter = base.with_name("tuned.gguf")
    adapter.write_bytes(lora_gguf(FITTING))
    with pytest.raises(FailedPreconditionError, match="its setting base_model must name"):
        describe_gguf_files([adapter])
    with pytest.raises(FailedPreconditionError, match="so it is no base of another"):
        describe_gguf_files([adapter], adapter)

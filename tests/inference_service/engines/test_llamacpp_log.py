from __future__ import annotations

import pytest

from inference_service.engines.llamacpp_log import cause_of, unknown_architecture
from inference_service.engines.log import log_name
from inference_service.memory.placement import Placement, Share
from tests.inference_service.memory.test_placement import GIB, cpu, gpu

ON_CPU = Placement((Share(cpu(8), 2 * GIB),), "")
ON_GPU = Placement((Share(gpu(0, 24), 20 * GIB),), "")
TOO_LITTLE = "There is not enough memory for this model with this ctx_len and n_parallel"


@pytest.mark.parametrize(
    ("words", "placement", "sentence"),
    [
        (
            "ggml_backend_cpu_buffer_type_alloc_buffer: failed to allocate buffer of size 1099511627776",
            ON_CPU,
            f"{TOO_LITTLE}: it asked for 1024.0 GiB in one piece, 2.0 GiB were counted for it of 8.0 GiB free on cpu.",
        ),
        (
            "allocating 8192.00 MiB on device 0: cudaMalloc failed: out of memory",
            ON_GPU,
            f"{TOO_LITTLE}: it asked for 8.0 GiB in one piece, 20.0 GiB were counted for it of 24.0 GiB free on gpu-0.",
        ),
        ("std::bad_alloc", ON_CPU, f"{TOO_LITTLE}: 2.0 GiB were counted for it of 8.0 GiB free on cpu."),
        ("something else", ON_CPU, ""),
    ],
)
def test_last_words_are_told_in_the_users_words(words: str, placement: Placement, sentence: str) -> None:
    assert cause_of(f"before\n{words}\nafter", placement) == sentence


def test_every_copy_has_a_log_of_its_own() -> None:
    names = [log_name("vendor/a", copy) for copy in range(3)]
    assert names == ["engine-vendor_a.log", "engine-vendor_a.2.log", "engine-vendor_a.3.log"]


def test_an_architecture_that_is_not_known_is_named() -> None:
    words = "error loading model architecture: unknown model architecture: 'zzz-2'"
    assert unknown_architecture(words) == "This build of llama.cpp does not know the model's architecture (zzz-2)."
    assert unknown_architecture("failed to allocate") == ""

from __future__ import annotations

import pytest

from inference_service.engines.vllm_log import VllmLog, explain


def test_progress_goes_forward_only() -> None:
    log = VllmLog()
    assert (log.progress, log.activity) == (0.0, "starting vLLM")
    heard = []
    for line in (
        "(EngineCore pid=2) INFO [core.py:133] Initializing a V1 LLM engine (v0.32.0) with config: model='/srv/m'",
        "(Worker pid=7) INFO 11-26 14:35:30 [cpu_model_runner.py:68] Starting to load model /srv/models/m...",
        "Loading safetensors checkpoint shards:  40% Completed | 2/5 [00:00<00:00,  2.57it/s]",
        "Loading safetensors checkpoint shards: 100% Completed | 5/5 [00:00<00:00,  2.57it/s]",
        "Loading safetensors checkpoint shards:   0% Completed | 0/5 [00:00<?, ?it/s]",
        "(Worker pid=7) INFO [default_loader.py:501] Loading weights took 0.40 seconds",
        "Capturing CUDA graphs (mixed prefill-decode, PIECEWISE):  50%|#####     | 33/67",
        "(EngineCore pid=2) INFO [core.py:402] init engine (profile, create kv cache, warmup model) took 1.34 s",
    ):
        log.hear(line)
        heard.append((log.activity, round(log.progress, 3)))
    assert heard == [
        ("starting its core", 0.05),
        ("loading weights", 0.1),
        ("loading weights 40 %", 0.34),
        ("loading weights 100 %", 0.7),
        ("loading weights 100 %", 0.7),
        ("preparing", 0.7),
        ("capturing graphs 50 %", 0.875),
        ("starting to serve", 0.97),
    ]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (
            (
                "ValueError: To serve at least one request with the model's max seq len (8192), (1.41 GiB KV cache is "
                "needed, which is larger than the available KV cache memory (0.2 GiB). Based on"
            ),
            "A request of ctx_len 8192 needs 1.41 GiB of KV cache, and 0.2 GiB are free for it.",
        ),
        (
            (
                "User-specified max_model_len (100000) is greater than the derived max_model_len "
                "(max_position_embeddings=8192 or model_max_length=None in model's config.json)."
            ),
            "ctx_len is 100000, but the model was made for at most 8192 tokens.",
        ),
        (
            (
                "ValueError: Free memory on device cuda:0 (3.1/23.6 GiB) on startup is less than desired GPU memory "
                "utilization (0.92, 21.7 GiB). Decrease"
            ),
            "The GPU has 3.1 of its 23.6 GiB free, and 21.7 GiB are asked for (gpu_memory_utilization 0.92).",
        ),
        (
            (
                "ValueError: Available memory on node 0 (1.0/23.54 GiB) on kv cache allocation is less than requested "
                "memory for kv (4.0 GiB). Decrease --kv-cache-memory-bytes"
            ),
            (
                "There are 1.0 of 23.54 GiB of memory free, and 4.0 GiB are needed. "
                "A smaller ctx_len or n_parallel needs less."
            ),
        ),
        (
            (
                "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.32 GiB. GPU 0 has a total capacity of "
                "23.57 GiB of which 1.10 GiB is free. Process 1 has"
            ),
            (
                "The GPU is out of memory: 2.32 GiB more are needed, and 1.10 GiB of its 23.57 GiB are free. "
                "A smaller ctx_len or n_parallel needs less."
            ),
        ),
        ("torch.OutOfMemoryError: CUDA out of memory.", "There is not enough memory for this model."),
        ("Model architectures ['FooForCausalLM'] are not supported for now.", "('FooForCausalLM')"),
        ("Total number of attention heads (9) must be divisible by tensor parallel size (2).", "9 attention heads"),
        ("World size (4) is larger than the number of available GPUs (1) in this node.", "ask for 4 GPUs"),
        ("KeyError: 'invalid tool call parser: foo (chose from {...})'", "no tool_call_parser named foo"),
        ("/opt/v/bin/python: Error while finding module: No module named 'vllm'", "vLLM is not installed"),
        ("api_server.py: error: unrecognized arguments: --new=1", "does not know --new=1"),
        ("safetensors_rust.SafetensorError: Error while deserializing header", "safetensors files cannot be used"),
        (
            (
                "WARNING 11-27 00:59:17 [cpu.py:644] Failed to import from vllm._C: ImportError('libnuma.so.1: cannot "
                "open shared object file: No such file or directory')"
            ),
            "vLLM needs the system's library libnuma.so.1, which is not installed",
        ),
        (
            (
                "RuntimeError: Insufficient space in /dev/shm for shared-memory allocation: 160 MiB required, 64 MiB "
                "free. Increase /dev/shm (e.g. --shm-size or --ipc=host)."
            ),
            "vLLM needs 160 MiB of /dev/shm, which has room for 64 MiB: enlarge it",
        ),
        ("INFO: all is well", ""),
    ],
)
def test_causes_in_users_words(line: str, told: str) -> None:
    assert told in explain(line)
    assert bool(explain(line)) is bool(told)


def test_the_first_cause_counts() -> None:
    log = VllmLog()
    log.hear("torch.OutOfMemoryError: CUDA out of memory.")
    log.hear("No module named 'vllm'")
    assert log.cause.startswith("There is not enough memory")


@pytest.mark.parametrize(
    ("line", "lasts"),
    [
        ("torch.OutOfMemoryError: CUDA out of memory.", False),
        ("OSError: No space left on device", False),
        ("KeyError: 'invalid tool call parser: foo (chose from {...})'", True),
        ("Model architectures ['FooForCausalLM'] are not supported for now.", True),
        ("INFO: all is well", False),
    ],
)
def test_want_of_memory_may_pass_and_wrong_settings_last(line: str, lasts: bool) -> None:
    log = VllmLog()
    log.hear(line)
    assert log.lasts is lasts

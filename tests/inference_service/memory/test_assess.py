"""What models need, from real and from made files."""

from __future__ import annotations

import io
import json
import struct
from pathlib import Path
from typing import Any

import pytest

from inference_service.devices.device import DeviceKind
from inference_service.memory.assess import PROFILES, assess
from inference_service.memory.fit import Footprint, corrected, estimate, in_words, overhead_of
from inference_service.memory.measurements import Measurements
from inference_service.memory.placement import Demand
from inference_service.weights.files import WeightHomes
from jan.errors import FailedPreconditionError, JanError, NotFoundError
from jan.formats.config import describe_config, parse_config
from jan.formats.description import LyingHeaderError, ModelDescription
from jan.formats.gguf import describe_gguf, read_gguf
from jan.formats.weights import describe_gguf_files
from jan.inference.v1.jobs_pb2 import ModelSpec
from tests.inference_service.bench import demo
from tests.jan.formats.test_safetensors import file, tensor
from tests.jan.formats.test_weights import text

MIB = 2**20
CONFIG = {
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "hidden_size": 4096,
    "vocab_size": 128_256,
    "max_position_embeddings": 131_072,
}


def test_the_demo_model_is_described_by_its_header(demo_gguf: Path) -> None:
    model = describe_gguf_files([demo_gguf])
    assert (model.layers, model.attention_heads, model.kv_heads) == (30, 9, 3)
    assert model.kv_elements == 30 * 3 * (64 + 64)
    assert (model.embedding_length, model.vocabulary, model.context_tokens) == (576, 49_152, 8_192)
    size = demo_gguf.stat().st_size
    assert size - 4 * MIB < model.weights_bytes < size


def test_a_beginning_of_a_file_is_enough(demo_gguf: Path) -> None:
    with demo_gguf.open("rb") as whole:
        beginning = io.BytesIO(whole.read(4 * MIB))
    header = read_gguf(beginning, demo_gguf.stat().st_size)
    assert describe_gguf(header) == describe_gguf_files([demo_gguf])


def test_needs_grow_with_context_and_concurrency(models_dir: Path) -> None:
    homes = WeightHomes(models_dir, models_dir.parent)
    small = assess(demo(ctx_len=1024, n_parallel=1), homes, None)
    large = assess(demo(ctx_len=2048, n_parallel=4), homes, None)
    eighth = assess(demo(ctx_len="2048", n_parallel=4, cache_type="Q8_0"), homes, None)
    assert small.demand is not None
    assert large.demand is not None
    assert eighth.demand is not None
    kv = small.demand.footprint.kv_cache_bytes
    assert kv == 1024 * 30 * 3 * 128 * 2
    assert large.demand.footprint.kv_cache_bytes == 8 * kv
    assert eighth.demand.footprint.kv_cache_bytes == 8 * kv * 17 // 32
    assert small.demand.kinds == (DeviceKind.CPU,)
    assert (large.ctx_tokens, large.n_parallel) == (2048, 4)


@pytest.mark.parametrize(
    ("settings", "idle", "warnings"),
    [({}, 60, 0), ({"idle_seconds": 5}, 5, 0), ({"idle_seconds": "-1"}, None, 0), ({"idle_seconds": "soon"}, 60, 1)],
)
def test_a_model_may_say_how_long_it_rests(
    models_dir: Path, settings: dict[str, Any], idle: float | None, warnings: int
) -> None:
    found = assess(demo(**settings), WeightHomes(models_dir, models_dir.parent), 60.0)
    assert (found.hosting.idle_seconds, len(found.warnings)) == (idle, warnings)


def config(**fields: Any) -> dict[str, Any]:
    return {**CONFIG, **fields}


@pytest.mark.parametrize(
    ("given", "kv_elements"),
    [
        (config(), 32 * 2 * 8 * 128),
        (config(num_key_value_heads=None), 32 * 2 * 32 * 128),
        (config(head_dim=64), 32 * 2 * 8 * 64),
        (config(kv_lora_rank=512, qk_rope_head_dim=64), 32 * 576),
        ({"text_config": config(), "vision_config": {"hidden_size": 9}}, 32 * 2 * 8 * 128),
        ({"n_layer": 12, "n_head": 12, "n_embd": 768}, 12 * 2 * 12 * 64),
        ({}, 0),
    ],
)
def test_a_configuration_tells_the_kv_cache(given: dict[str, Any], kv_elements: int) -> None:
    assert describe_config(given, 1).kv_elements == kv_elements


@pytest.mark.parametrize(
    "given",
    [
        config(num_hidden_layers=2**62),
        config(num_hidden_layers=-1),
        config(num_attention_heads=-32),
        config(hidden_size="4096"),
        config(vocab_size=True),
        config(head_dim=2**40),
    ],
)
def test_numbers_that_no_model_has_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(LyingHeaderError):
        describe_config(given, 1)


def pair(key: bytes, form: str, kind: int, value: int) -> bytes:
    return text(key) + struct.pack("<I" + form, kind, value)


@pytest.mark.parametrize(
    ("key", "value"), [(b"block_count", 2**32 - 1), (b"embedding_length", 2**31), (b"attention.key_length", 2**31)]
)
def test_a_gguf_header_with_such_numbers_is_refused(tmp_path: Path, key: bytes, value: int) -> None:
    numbers = {b"block_count": 32, b"attention.head_count": 32, b"embedding_length": 4096, key: value}
    pairs = [text(b"general.architecture") + struct.pack("<I", 8) + text(b"llama")]
    pairs += [pair(b"llama." + name, "I", 4, number) for name, number in numbers.items()]
    (tmp_path / "m.gguf").write_bytes(struct.pack("<4sIQQ", b"GGUF", 3, 0, len(pairs)) + b"".join(pairs))
    with pytest.raises(FailedPreconditionError):
        describe_gguf_files([tmp_path / "m.gguf"])


def safetensors_model(tmp_path: Path, files: dict[str, bytes]) -> tuple[ModelSpec, WeightHomes]:
    folder = tmp_path / "models/m"
    folder.mkdir(parents=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return ModelSpec(id="m", engine="vllm", format="safetensors"), WeightHomes(folder.parent, tmp_path)


SHARD = file({"a": tensor(0, 2000, [1000])}, 2000)


def test_a_safetensors_folder_is_described_by_its_headers_and_configuration(tmp_path: Path) -> None:
    files = {"config.json": json.dumps(CONFIG).encode(), "tokenizer.json": b"{}"}
    files |= {"1.safetensors": SHARD, "2.safetensors": SHARD}
    found = assess(*safetensors_model(tmp_path, files), None)
    assert found.demand is not None
    assert found.demand.footprint.weights_bytes == 4000
    assert (found.ctx_tokens, found.demand.shards, found.demand.footprint.kv_heads) == (8192, True, 8)


MARKER = b"open('marker', 'w')"


@pytest.mark.parametrize(
    ("files", "kind"),
    [
        ({}, NotFoundError),
        ({"1.safetensors": SHARD}, NotFoundError),
        ({"config.json": b"{}"}, NotFoundError),
        ({"config.json": b"{}", "pytorch_model.bin": b"\x80\x04"}, FailedPreconditionError),
        ({"config.json": b"[]", "1.safetensors": SHARD}, FailedPreconditionError),
        ({"config.json": b"{}", "1.safetensors": SHARD[:-1]}, FailedPreconditionError),
        ({"config.json": b"{}", "1.safetensors": SHARD, "2.safetensors": b""}, FailedPreconditionError),
        (
            {"config.json": b'{"auto_map": {"AutoModel": "x.M"}}', "x.py": MARKER, "1.safetensors": SHARD},
            FailedPreconditionError,
        ),
        (
            {"config.json": b'{"text_config": {"auto_map": {"A": "x.M"}}}', "x.py": MARKER, "1.safetensors": SHARD},
            FailedPreconditionError,
        ),
        (
            {"config.json": b"{}", "tokenizer_config.json": b'{"auto_map": {"A": ["x.T"]}}', "1.safetensors": SHARD},
            FailedPreconditionError,
        ),
    ],
)
def test_a_folder_that_cannot_or_must_not_be_loaded_is_refused(
    tmp_path: Path, files: dict[str, bytes], kind: type[JanError]
) -> None:
    with pytest.raises(kind):
        assess(*safetensors_model(tmp_path, files), None)


def test_a_configuration_as_deep_as_a_well_is_refused() -> None:
    with pytest.raises(LyingHeaderError):
        parse_config(b'{"a":' * 100_000)


def test_what_loading_measured_corrects_the_next_estimate(tmp_path: Path) -> None:
    model = ModelDescription(weights_bytes=1000 * MIB, layers=32, attention_heads=32, kv_heads=8, kv_elements=65_536)
    footprint = estimate(model, PROFILES["llamacpp"], ctx_tokens=4096, n_parallel=4)
    longer = estimate(model, PROFILES["llamacpp"], ctx_tokens=8192, n_parallel=4)
    measurements = Measurements(tmp_path / "run/measurements.json")
    assert measurements.correct("m", footprint) == footprint
    measured = footprint.weights_bytes + footprint.kv_cache_bytes + 300 * MIB
    measurements.note(Demand("m", footprint, (DeviceKind.CPU,), False), measured, 1)
    for known in (measurements, Measurements(tmp_path / "run/measurements.json")):
        assert known.is_known("m", longer)
        assert known.correct("m", footprint).total_bytes == measured + footprint.growth_bytes
        assert known.correct("m", longer).overhead_bytes == 300 * MIB + footprint.growth_bytes
        assert known.correct("other", footprint) == footprint


def test_a_measurement_never_makes_less_of_what_the_headers_say() -> None:
    footprint = Footprint(weights_bytes=100 * MIB, kv_cache_bytes=50 * MIB, overhead_bytes=900 * MIB)
    overhead = overhead_of(footprint, measured_bytes=10 * MIB, devices=1)
    assert corrected(footprint, overhead).total_bytes == 150 * MIB + 64 * MIB


@pytest.mark.parametrize("content", ["", "[]", '{"m": "x"}', '{"m 1": -5}'])
def test_a_damaged_file_of_measurements_teaches_nothing(tmp_path: Path, content: str) -> None:
    path = tmp_path / "measurements.json"
    path.write_text(content)
    footprint = Footprint(1, 0, 5)
    assert Measurements(path).correct("m", footprint) == footprint


def test_sizes_are_said_in_words() -> None:
    assert [in_words(size) for size in (0, 1, MIB, 1024 * MIB, 1536 * MIB)] == [
        "0 MiB",
        "1 MiB",
        "1 MiB",
        "1.0 GiB",
        "1.5 GiB",
    ]

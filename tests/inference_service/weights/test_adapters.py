"""What a LoRA adapter needs is looked at before anything starts, on both engines."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from inference_service.memory.assess import assess
from inference_service.weights.files import WeightHomes
from jan.errors import FailedPreconditionError, JanError, NotFoundError
from jan.inference.v1.jobs_pb2 import BaseModel, ModelSpec
from tests.fixtures.gguf_files import lora, lora_gguf
from tests.fixtures.tiny_models import lora_folder, safetensors_folder

ENGINES = ("vllm", "llamacpp")
ATTENTION = "blk.0.attn_output.weight"


@pytest.fixture
def folder(models_dir: Path) -> Path:
    """Models for both engines, and an adapter for each."""
    safetensors_folder(models_dir / "hf")
    lora_folder(models_dir / "vllm-lora")
    (models_dir / "llamacpp-lora").mkdir()
    (models_dir / "llamacpp-lora/a.gguf").write_bytes(lora_gguf(lora(ATTENTION, 576, 576, strength=1)))
    return models_dir


def whole(engine: str) -> BaseModel:
    return BaseModel(id="hf", engine="vllm") if engine == "vllm" else demo()


def demo() -> BaseModel:
    return BaseModel(id="demo", engine="llamacpp", files=["demo.gguf"])


def adapter(engine: str, base: BaseModel | None, base_model: object = "named") -> ModelSpec:
    return ModelSpec(
        id=f"{engine}-lora",
        engine=engine,
        files=["a.gguf"] if engine == "llamacpp" else ["adapter_model.safetensors"],
        settings_json=json.dumps({"base_model": base_model}),
        base=base,
    )


def assessed(folder: Path, spec: ModelSpec) -> int:
    """How much memory its weights take."""
    demand = assess(spec, WeightHomes(folder, folder.parent), None).demand
    assert demand is not None
    return demand.footprint.weights_bytes


def refusal(folder: Path, spec: ModelSpec) -> JanError:
    with pytest.raises(JanError) as caught:
        assessed(folder, spec)
    assert caught.value.message.isprintable()
    return caught.value


@pytest.mark.parametrize("engine", ENGINES)
def test_a_base_that_is_not_here_is_named(folder: Path, engine: str) -> None:
    error = refusal(folder, adapter(engine, None, "gone\n"))
    assert isinstance(error, NotFoundError)
    assert error.code == "model_file_missing"
    assert error.message == (
        rf"Model {engine}-lora is a LoRA adapter of 'gone\n' (its setting base_model), and there is no such model."
    )


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("other", ["openai", "llamacpp", "vllm"])
def test_a_base_that_is_elsewhere_or_of_the_other_engine_is_refused(folder: Path, engine: str, other: str) -> None:
    base = BaseModel(id="named", engine=other) if other == "openai" else whole(other)
    if other == engine:
        assert assessed(folder, adapter(engine, base)) >= 0
        return
    error = refusal(folder, adapter(engine, base))
    assert isinstance(error, FailedPreconditionError)
    assert error.code == "model_settings_invalid"
    assert f"is for {other}; it must be a whole model for {engine}." in error.message


@pytest.mark.parametrize("engine", ENGINES)
def test_an_adapter_of_an_adapter_or_of_itself_is_refused(folder: Path, engine: str) -> None:
    itself = adapter(engine, BaseModel(id=f"{engine}-lora", engine=engine))
    assert "names itself" in refusal(folder, itself).message
    (folder / f"{engine}-lora").rename(folder / "first")
    (folder / f"{engine}-lora").symlink_to("first")
    error = refusal(folder, adapter(engine, BaseModel(id="first", engine=engine, files=["a.gguf"])))
    assert "is a LoRA adapter, so it is no base of another" in error.message


@pytest.mark.parametrize("engine", ENGINES)
def test_an_adapter_without_a_base_is_no_model(folder: Path, engine: str) -> None:
    for base_model in ("", None, ["demo"]):
        error = refusal(folder, adapter(engine, None, base_model))
        assert (error.code, "its setting base_model must name" in error.message) == ("model_file_invalid", True)


def test_a_pickled_adapter_is_refused(folder: Path) -> None:
    (folder / "vllm-lora/adapter_model.safetensors").rename(folder / "vllm-lora/adapter_model.bin")
    error = refusal(folder, adapter("vllm", whole("vllm")))
    assert error.code == "model_file_invalid"
    assert "adapter_model.bin of model vllm-lora can hold a program" in error.message


def test_a_base_lies_where_its_record_says(folder: Path) -> None:
    (folder / "hf").rename(folder / "elsewhere")
    base = BaseModel(id="hf", engine="vllm", folder="models/elsewhere")
    assert assessed(folder, adapter("vllm", base)) >= 0
    outside = BaseModel(id="hf", engine="vllm", folder="models/../../etc")
    assert "lies outside of the models folders" in refusal(folder, adapter("vllm", outside)).message


def test_base_and_adapter_are_counted(folder: Path) -> None:
    spec = adapter("llamacpp", demo())
    alone = ModelSpec(id="demo", engine="llamacpp", files=["demo.gguf"])
    assert assessed(folder, spec) == assessed(folder, alone) + 2 * 576 * 4

"""LoRA adapters and models in parts on the real llama.cpp: one job each, as they come from the queue."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from jan.inference.v1.jobs_pb2 import BaseModel, ModelSpec
from tests.fixtures.gguf_files import Matrix, in_parts, lora, lora_gguf
from tests.inference_service.bench import Bench, demo

pytestmark = pytest.mark.engine

WIDTH = 576
ATTENTION = "blk.29.attn_output.weight"
REQUEST = {"max_tokens": 12, "temperature": 0}
BASE = BaseModel(id="demo", engine="llamacpp", files=["demo.gguf"])


def tuned(models_dir: Path, model_id: str, matrices: dict[str, Matrix]) -> ModelSpec:
    (models_dir / model_id).mkdir()
    (models_dir / model_id / "adapter.gguf").write_bytes(lora_gguf(matrices))
    settings = {"ctx_len": 1024, "n_parallel": 2, "base_model": "demo"}
    return ModelSpec(
        id=model_id,
        engine="llamacpp",
        format="gguf",
        files=["adapter.gguf"],
        settings_json=json.dumps(settings),
        base=BASE,
    )


async def test_an_adapter_changes_what_its_base_says_and_one_of_zeros_does_not(bench: Bench, models_dir: Path) -> None:
    strong = tuned(models_dir, "strong", lora(ATTENTION, WIDTH, WIDTH, strength=3))
    silent = tuned(models_dir, "silent", lora(ATTENTION, WIDTH, WIDTH, strength=0))
    async with bench.worker() as running:
        plain, changed, same = [await bench.ask(spec, REQUEST) for spec in (demo(), strong, silent)]
        assert (plain.end, changed.end, same.end) == ("completed",) * 3
        assert plain.text == same.text
        assert changed.text != plain.text
        assert all(not model.status.warnings for model in running.models.all())


async def test_an_adapter_that_does_not_fit_is_an_error_with_the_reason(bench: Bench, models_dir: Path) -> None:
    wrong = tuned(models_dir, "wrong", lora(ATTENTION, WIDTH, 100, strength=1))
    async with bench.worker() as running:
        said = await bench.ask(wrong)
        [status] = [model.status for model in running.models.all()]
        assert (said.end, said.error.code) == ("failed", "model_file_invalid")
        assert "adapter.gguf is no LoRA adapter for demo.gguf: its matrices for" in said.error.message
        assert "576x1 and 1x100, and the model's is 576x576" in said.error.message
        assert status.error is not None
        assert (status.state, status.error.code) == ("error", "model_file_invalid")


async def test_a_model_in_parts_is_loaded_by_any_of_them(bench: Bench, models_dir: Path, demo_gguf: Path) -> None:
    parts = await asyncio.to_thread(in_parts, demo_gguf, 3)
    (models_dir / "parts").mkdir()
    names = [f"m-0000{number}-of-00003.gguf" for number in (1, 2, 3)]
    for name, part in zip(names, parts, strict=True):
        await asyncio.to_thread((models_dir / "parts" / name).write_bytes, part)
    spec = demo()
    spec.id, spec.files[:] = "parts", names[1:2]
    async with bench.worker():
        whole, in_three = [await bench.ask(one, REQUEST) for one in (demo(), spec)]
        assert (in_three.end, in_three.text) == ("completed", whole.text)
        (models_dir / "parts" / names[2]).unlink()
        spec.settings_json = json.dumps({"ctx_len": 512})
        said = await bench.ask(spec)
        assert said.error.code == "model_file_missing"
        assert "The file m-00003-of-00003.gguf of model parts is missing: the model has 3 parts." in said.error.message

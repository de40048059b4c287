"""A model with eyes on the real llama.cpp: the demo model, with a projector of random weights beside it."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest

from inference_service.engines.llamacpp import LlamaCppEngine
from inference_service.memory.placement import Placement
from inference_service.weights.gguf_files import GgufFiles
from jan.errors import InvalidArgumentError, UnavailableError
from jan.inference.v1.jobs_pb2 import ModelSpec
from tests.fixtures.eyes import asking, data_url, mmproj, png
from tests.inference_service.bench import Bench, demo
from tests.inference_service.engines.image_contract import ImageContract

pytestmark = pytest.mark.engine


def make(weights: Path, run_dir: Path, projector: bytes) -> LlamaCppEngine:
    path = run_dir / "mmproj.gguf"
    path.write_bytes(projector)
    settings = {"ctx_len": 1024, "n_parallel": 2}
    spec = ModelSpec(id="demo", engine="llamacpp", format="gguf", settings_json=json.dumps(settings))
    files = GgufFiles([weights], projector=path)
    return LlamaCppEngine(spec, files, Placement((), ""), run_dir, timedelta(seconds=50))


class TestSeeingLlamaCpp(ImageContract):
    @pytest.fixture
    def engine(self, demo_gguf: Path, run_dir: Path) -> LlamaCppEngine:
        return make(demo_gguf, run_dir, mmproj())


async def test_a_projector_for_another_model_is_told(demo_gguf: Path, run_dir: Path) -> None:
    engine = make(demo_gguf, run_dir, mmproj(width=64))
    with pytest.raises(UnavailableError, match=r"mmproj\) is for a model of another width") as caught:
        await engine.start()
    assert caught.value.code == "engine_start_failed"


async def test_a_job_shows_images_when_a_projector_lies_beside_the_weights(bench: Bench, models_dir: Path) -> None:
    request = {"messages": asking(data_url(png())), "max_tokens": 2, "temperature": 0}
    seeing, off = demo(), demo()
    (models_dir / "demo" / "mmproj-demo-f16.gguf").write_bytes(mmproj())
    seeing.files.append("mmproj-demo-f16.gguf")
    off.id, off.folder = "off", "models/demo"
    off.files.append("mmproj-demo-f16.gguf")
    off.settings_json = json.dumps({**json.loads(off.settings_json), "vision_model": False})
    async with bench.worker() as running:
        said = await bench.ask(seeing, request)
        assert (said.end, bool(said.text)) == ("completed", True)
        assert all(not model.status.warnings for model in running.models.all())
        blind = await bench.ask(off, request)
        assert (blind.end, blind.error.code) == ("failed", "unsupported_content")
        assert blind.error.param == "messages[0].content[1]"


def test_without_eyes_an_image_is_refused_by_name(demo_gguf: Path, run_dir: Path) -> None:
    spec = ModelSpec(id="demo", engine="llamacpp", format="gguf")
    engine = LlamaCppEngine(spec, GgufFiles([demo_gguf]), Placement((), ""), run_dir, timedelta(seconds=50))
    with pytest.raises(InvalidArgumentError, match="Model 'demo' cannot see images; send text only") as caught:
        engine.chat_call({"messages": asking(data_url(png()))})
    assert (caught.value.param, caught.value.code) == ("messages[0].content[1]", "unsupported_content")

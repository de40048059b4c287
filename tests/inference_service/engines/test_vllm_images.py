"""A model with eyes on the real vLLM, on the CPU: a tiny one of random weights. Part of `make test-vllm`."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from inference_service.engines.client import EngineClient
from inference_service.engines.engine import Engine
from inference_service.engines.vllm import VllmEngine
from tests.fixtures.vllm import ROOT
from tests.inference_service.engines.image_contract import ImageContract
from tests.inference_service.engines.test_vllm import make, module_run_dir, vllm

__all__ = ["module_run_dir"]

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def seeing_models(vllm_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models folder with a model of random weights that sees."""
    models = tmp_path_factory.mktemp("seeing") / "models"
    maker = ROOT / "tests/fixtures/seeing_safetensors.py"
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    subprocess.run([vllm_python, maker, models / "seeing"], env=environment, check=True)
    return models


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine(seeing_models: Path, vllm_python: Path, module_run_dir: Path) -> AsyncIterator[Engine]:
    engine = await make(seeing_models, vllm_python, module_run_dir, vllm("seeing"))
    await engine.start()
    yield engine
    await engine.stop()


@pytest.mark.asyncio(loop_scope="module")
class TestSeeingVllm(ImageContract):
    @pytest_asyncio.fixture(loop_scope="module")
    async def client(self, engine: Engine) -> AsyncIterator[EngineClient]:  # type: ignore[override]  # it runs already
        assert isinstance(engine, VllmEngine)
        async with EngineClient(engine._connection) as client:
            yield client

    async def test_its_command_allows_images_alone_and_none_from_elsewhere(self, engine: VllmEngine) -> None:
        command = await asyncio.to_thread(Path(f"/proc/{engine.pid}/cmdline").read_text)
        assert '--limit-mm-per-prompt={"image": 16, "video": 0, "audio": 0}' in command.split("\0")
        assert "--allowed-media-domains=nowhere.invalid" in command.split("\0")

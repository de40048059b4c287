"""A short folder for sockets, and what runs there."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from jan.queue.follower import LogFollower
from jan.telemetry import configure_logging
from tests.inference_service.bench import Bench, launcher
from tests.inference_service.fake_engine import FakeMaker
from tests.inference_service.scripted_engine import ScriptedEngine

pytest.register_assert_rewrite(
    "tests.inference_service.engines.asking",
    "tests.inference_service.engines.completion_contract",
    "tests.inference_service.engines.contract",
    "tests.inference_service.engines.continuation_contract",
    "tests.inference_service.engines.embedding_contract",
    "tests.inference_service.engines.sleep_contract",
    "tests.inference_service.engines.tool_contract",
)


@pytest.fixture
def run_dir() -> Iterator[Path]:
    """A run folder whose path is short enough for sockets, which pytest's own may not be."""
    with tempfile.TemporaryDirectory(prefix="jan-run-") as folder:
        yield Path(folder)


@pytest.fixture
def models_dir(tmp_path: Path, demo_gguf: Path) -> Path:
    """A models folder with the demo model, linked."""
    folder = tmp_path / "models" / "demo"
    folder.mkdir(parents=True)
    (folder / "demo.gguf").symlink_to(demo_gguf)
    return folder.parent


@pytest.fixture
async def maker() -> FakeMaker:
    """Makes engines that run nothing."""
    return FakeMaker()


@pytest.fixture
async def scripted() -> AsyncIterator[ScriptedEngine]:
    """An engine whose timing belongs to the test."""
    async with ScriptedEngine().serving() as engine:
        yield engine


@pytest.fixture
async def bench(redis: Redis, models_dir: Path, run_dir: Path) -> AsyncIterator[Bench]:
    """Everything around a worker."""
    follower = LogFollower(redis)
    async with follower.running():
        yield Bench(redis, follower, launcher(models_dir, run_dir))


@pytest.fixture(scope="session", autouse=True)
def logs() -> None:
    """Logs as in production: structlog's default draws tracebacks with source files, which blocks the event loop."""
    configure_logging("tests", "text")

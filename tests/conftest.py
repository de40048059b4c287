"""What every test may use. Fixtures that start real parts live in tests/fixtures, one file a part."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from blockbuster import BlockBuster, blockbuster_ctx
from hypothesis import HealthCheck, settings

pytest_plugins = [
    "tests.fixtures.redis",
    "tests.fixtures.storage",
    "tests.fixtures.storage_process",
    "tests.fixtures.gateway",
    "tests.fixtures.engine_host",
    "tests.fixtures.demo_model",
    "tests.fixtures.worker",
    "tests.fixtures.stack",
    "tests.fixtures.vllm",
    "tests.fixtures.held_files",
]

# A slow machine is no defect of ours: times are measured in bench/, never asserted.
settings.register_profile("janroot", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("janroot")


@pytest.fixture(autouse=True)
def blockbuster() -> Iterator[BlockBuster]:
    """Fail a test whose event loop is blocked by file, socket or sleep calls of our own code."""
    with blockbuster_ctx(["gateway", "storage_service", "inference_service", "jan"]) as detector:
        yield detector

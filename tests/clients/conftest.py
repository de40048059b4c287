"""The stack that other people's clients talk to, and what each of them says of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.clients import programs
from tests.clients.engine import ServedEngine, serving
from tests.fixtures.gateway import write_model
from tests.fixtures.stack import Stack

Seen = Callable[[str, str, str], Any]


@pytest.fixture(scope="session")
def calling_engine() -> Iterator[ServedEngine]:
    with serving() as served:
        yield served


@pytest.fixture(scope="session")
def seen(
    stack: Stack, embedder: object, calling_engine: ServedEngine, tmp_path_factory: pytest.TempPathFactory
) -> Seen:
    """What one part of a client's script saw; each script runs once for all its parts."""
    write_model(stack.janroot, programs.CALLS, sources=[{"url": calling_engine.url}])

    @cache
    def told(client: str, script: str) -> dict[str, dict[str, Any]]:
        folder: Path = tmp_path_factory.mktemp(client)
        return programs.run(client, script, url=stack.url, folder=folder)

    def part(client: str, script: str, name: str) -> Any:
        outcome = told(client, script)[name]
        assert "seen" in outcome, outcome["failed"]
        return outcome["seen"]

    return part

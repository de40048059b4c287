"""An opened janroot whose clock is ours, and short ways to make what goes into it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from jan.ids import AssistantId, ThreadId
from storage_service.store.records import Thread
from storage_service.store.store import Store

BLANK = Thread(id=ThreadId(""), created_ms=0, updated_ms=0)


class SteppingClock:
    """A wall clock that moves a second at each look, and jumps where a test sends it."""

    def __init__(self) -> None:
        self.now_ms = 1_704_504_633_000

    def __call__(self) -> int:
        self.now_ms += 1000
        return self.now_ms


class HandStopwatch:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def stopwatch() -> HandStopwatch:
    return HandStopwatch()


@pytest.fixture
def clock() -> SteppingClock:
    return SteppingClock()


@pytest.fixture
def janroot(tmp_path: Path) -> Path:
    return tmp_path / "janroot"


@pytest.fixture
def store(janroot: Path, clock: SteppingClock, stopwatch: HandStopwatch) -> Iterator[Store]:
    opened = Store.open(janroot, clock=clock, stopwatch=stopwatch)
    yield opened
    opened.close()


@pytest.fixture
def thread(store: Store) -> Thread:
    return store.threads.create(AssistantId("jan"), BLANK)

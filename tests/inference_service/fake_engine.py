"""Engines whose start, end and failures belong to the test, and a host of models that runs them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

from inference_service.answers.tokens import TokenQuestion, Tokens
from inference_service.devices.declared import DeclaredInventory
from inference_service.devices.device import Device, DeviceKind
from inference_service.engines.client import EngineClient
from inference_service.engines.engine import ChatCall, CompletionCall, Connection, EmbedCall
from inference_service.memory.assess import Assessment
from inference_service.memory.placement import Demand, Placement
from inference_service.memory.residency import Policy
from inference_service.models.hosting import HostingSettings
from inference_service.models.model import ModelStatus
from inference_service.models.pool import Models, open_models
from jan.errors import JanError
from jan.inference.configurations import key_of
from jan.inference.v1.jobs_pb2 import ModelSpec
from tests.inference_service.memory.test_placement import BOTH, cpu, demand


class FakeEngine:
    """An engine whose start and end belong to the test."""

    slots = 2
    is_local = True
    warnings = ("Setting x is not used.",)
    pid = 1

    def __init__(self, maker: FakeMaker, spec: ModelSpec, placement: Placement | None) -> None:
        self._maker = maker
        self.spec = spec
        self.placement = placement
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.sleeper = FakeSleeper(maker, self) if maker.sleeps else None
        self.asleep = False

    activity = ""

    def progress(self) -> float:
        return 0.4

    async def start(self) -> Connection:
        self._maker.starts.append(self.spec.id)
        await self._maker.may_start.wait()
        if self._maker.error is not None:
            raise self._maker.error
        self._maker.running.add(self)
        return Connection("http://127.0.0.1:1/v1")

    async def stop(self) -> None:
        self._maker.running.discard(self)

    async def wait_exit(self) -> str:
        return await self.ended

    def chat_call(self, request: Mapping[str, Any]) -> ChatCall:
        return ChatCall(request, streams=True)

    def continues(self, said: str) -> bool:
        return False

    def completion_call(self, request: Mapping[str, Any]) -> CompletionCall:
        return CompletionCall(request, streams=True)

    ctx_len = 100

    async def tokenize(self, client: EngineClient, question: TokenQuestion) -> Tokens:
        return Tokens(list(question.text.encode()))

    async def detokenize(self, client: EngineClient, tokens: Sequence[int]) -> str:
        return bytes(tokens).decode()

    def embed_call(self, request: Mapping[str, Any]) -> EmbedCall:
        return EmbedCall([request])


class FakeSleeper:
    """How a fake engine sleeps: when it may, unless it fails."""

    def __init__(self, maker: FakeMaker, engine: FakeEngine) -> None:
        self._maker = maker
        self._engine = engine

    async def sleep(self, client: EngineClient) -> None:
        await self._turn(asleep=True)

    async def wake(self, client: EngineClient) -> None:
        await self._turn(asleep=False)

    async def _turn(self, *, asleep: bool) -> None:
        await self._maker.may_turn.wait()
        if self._maker.turn_error is not None:
            raise self._maker.turn_error
        assert self._engine.asleep is not asleep
        self._engine.asleep = asleep


class FakeMaker:
    def __init__(self) -> None:
        self.starts: list[str] = []
        self.running: set[FakeEngine] = set()
        self.may_start = asyncio.Event()
        self.may_start.set()
        self.error: JanError | None = None
        self.sleeps = False
        self.may_turn = asyncio.Event()
        self.may_turn.set()
        self.turn_error: Exception | None = None

        self.size_gib = 1
        self.overhead_gib = 0
        self.kinds: tuple[DeviceKind, ...] = BOTH
        self.hosting = HostingSettings()
        self.learnt: list[int] = []

    async def assess(self, spec: ModelSpec, devices: Sequence[Device] = ()) -> Assessment:
        weights_gib = self.size_gib - self.overhead_gib
        wanted = demand(
            weights_gib, overhead_gib=self.overhead_gib, kinds=self.kinds, model_id=key_of(spec), shards=False
        )
        return Assessment(wanted, self.hosting)

    async def make(self, spec: ModelSpec, placement: Placement | None, copy: int) -> FakeEngine:
        return FakeEngine(self, spec, placement)

    async def learn(self, demand: Demand, measured_bytes: int, devices: int) -> None:
        self.learnt.append(measured_bytes)


def spec(model_id: str = "a", settings_json: str = "", configuration: str = "") -> ModelSpec:
    return ModelSpec(id=model_id, engine="fake", settings_json=settings_json, configuration=configuration)


def host(
    maker: FakeMaker,
    *devices: Device,
    most_loaded: int | None = None,
    monotonic: Callable[[], float] = time.monotonic,
    residency: float = 0,
    patience: float = 60,
) -> AbstractAsyncContextManager[Models]:
    """Models on declared devices, a CPU with 8 GiB by default."""
    inventory = DeclaredInventory(devices or (cpu(8),))
    return open_models(maker, inventory, Policy(residency, patience, most_loaded), monotonic=monotonic)


async def settle() -> None:
    """Let every task that can go on do so."""
    for _ in range(50):
        await asyncio.sleep(0)


async def use(models: Models, wanted: ModelSpec) -> None:
    async with models.use(wanted):
        pass


def status(models: Models, model_id: str = "a") -> ModelStatus:
    return next(model.status for model in models.all() if model.id == model_id)


async def until(models: Models, holds: Callable[[], bool]) -> None:
    """Wait for what some change of a model will bring about."""
    with models.watching() as changes:
        while not holds():
            await changes.get()

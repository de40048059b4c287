"""Which engine runs which model, and what it needs."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path

from inference_service.devices.device import Device
from inference_service.engines import vllm_python
from inference_service.engines.engine import Engine
from inference_service.engines.llamacpp import LlamaCppEngine
from inference_service.engines.openai import OpenAiEngine
from inference_service.engines.vllm import VllmEngine
from inference_service.memory.assess import Assessment, assess
from inference_service.memory.measurements import Measurements
from inference_service.memory.placement import Demand, Placement
from inference_service.models.preview import Preview, unused_settings
from inference_service.remote_keys import RemoteKeys
from inference_service.weights.files import WeightHomes
from inference_service.weights.gguf_files import find_gguf
from inference_service.weights.headers import Headers
from jan.errors import FailedPreconditionError, JanError
from jan.formats.description import ModelDescription
from jan.inference.v1.jobs_pb2 import ModelSpec


@dataclass(frozen=True, slots=True)
class Launcher:
    """Makes engines for models; `homes` are only read."""

    homes: WeightHomes
    run_dir: Path
    load_timeout: timedelta
    measurements: Measurements
    idle_seconds: float | None = None
    """How long a model may rest that does not say so itself; None for ever."""
    vllm_python: Path | None = None
    """The interpreter that has vLLM."""
    remote_keys: RemoteKeys = field(default_factory=RemoteKeys)
    """Keys for models that are elsewhere."""
    headers: Headers = field(default_factory=Headers)
    """What was read of model files lately."""

    async def assess(
        self, spec: ModelSpec, devices: Sequence[Device] = (), *, described: ModelDescription | None = None
    ) -> Assessment:
        """What the model needs of this host, as its files tell and earlier loads have taught.

        devices: where it is to fit; a context that no setting names is made smaller for that. described: what the
        headers say of a model that is not here yet.

        Raises FailedPreconditionError: no engine here runs this model, or its files or settings are unusable.
        NotFoundError: a file is missing.
        """
        return await asyncio.to_thread(self._assess, spec, devices, described)

    async def preview(self, specs: Sequence[ModelSpec], devices: Sequence[Device] = ()) -> list[Preview]:
        """What can be said of each model before it is loaded on `devices`, in their order."""
        return await asyncio.to_thread(lambda: [self._preview(spec, devices) for spec in specs])

    async def make(self, spec: ModelSpec, placement: Placement | None, copy: int = 0) -> Engine:
        """An engine for one copy of the model on the devices of its placement, not started yet. Raises as `assess`.

        copy: its number among the living ones, which names its log.
        """
        if spec.engine == "openai":
            return OpenAiEngine(spec, self.remote_keys)
        if spec.engine == "llamacpp" and placement is not None:
            return await asyncio.to_thread(self._llamacpp, spec, placement, copy)
        if spec.engine == "vllm" and placement is not None:
            return await asyncio.to_thread(self._vllm, spec, placement, copy)
        message = f"Model {spec.id} needs engine {spec.engine!r}, which this server does not have."
        raise FailedPreconditionError(message, code="engine_unsupported")

    async def learn(self, demand: Demand, measured_bytes: int, devices: int) -> None:
        """Remember what a copy really holds of its devices, right after loading."""
        await asyncio.to_thread(self.measurements.note, demand, measured_bytes, devices)

    def _assess(
        self, spec: ModelSpec, devices: Sequence[Device], described: ModelDescription | None = None
    ) -> Assessment:
        on_cpu = spec.engine == "vllm" and vllm_python.is_for_cpus(vllm_python.needed(self.vllm_python, spec.id))
        return assess(
            spec,
            self.homes,
            self.idle_seconds,
            vllm_on_cpu=on_cpu,
            described=described,
            headers=self.headers,
            devices=devices,
            correct=partial(self.measurements.correct, spec.id),
        )

    def _preview(self, spec: ModelSpec, devices: Sequence[Device]) -> Preview:
        try:
            unused = unused_settings(spec)
            found = self._assess(spec, devices)
        except JanError as error:
            return Preview(error=error)
        return Preview((*found.warnings, *unused), ctx_tokens=found.ctx_tokens)

    def _llamacpp(self, spec: ModelSpec, placement: Placement, copy: int) -> LlamaCppEngine:
        files = find_gguf(spec, self.homes)
        description = self.headers.gguf(files)
        return LlamaCppEngine(
            spec, files, placement, self.run_dir, self.load_timeout, description=description, copy=copy
        )

    def _vllm(self, spec: ModelSpec, placement: Placement, copy: int) -> VllmEngine:
        return VllmEngine(
            spec,
            self.headers.safetensors(spec, self.homes),
            placement,
            python=vllm_python.needed(self.vllm_python, spec.id),
            run_dir=self.run_dir,
            load_timeout=self.load_timeout,
            copy=copy,
        )

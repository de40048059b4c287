"""Which engine runs which model."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from inference_service.engines.engine import Engine
from inference_service.engines.llamacpp import LlamaCppEngine
from inference_service.engines.openai import OpenAiEngine
from inference_service.weights import WeightHomes, check_gguf, resolve_weights
from jan.errors import FailedPreconditionError
from jan.inference.v1.jobs_pb2 import ModelSpec


@dataclass(frozen=True, slots=True)
class Launcher:
    """Makes engines for models; `homes` are only read."""

    homes: WeightHomes
    run_dir: Path
    load_timeout: timedelta

    async def make(self, spec: ModelSpec) -> Engine:
        """An engine for the model, not started yet.

        Raises FailedPreconditionError: no engine here runs this model, or its files or settings are unusable.
        NotFoundError: a file is missing.
        """
        match spec.engine:
            case "llamacpp":
                weights = await asyncio.to_thread(self._checked_gguf, spec)
                return LlamaCppEngine(spec, weights, self.run_dir, self.load_timeout)
            case "openai":
                return OpenAiEngine(spec)
            case other:
                message = f"Model {spec.id} needs engine {other!r}, which this server does not have."
                raise FailedPreconditionError(message, code="engine_unsupported")

    def _checked_gguf(self, spec: ModelSpec) -> Path:
        weights = resolve_weights(self.homes.folder(spec.id, spec.folder), spec.id, spec.files)
        for path in weights:
            if path.suffix.lower() == ".gguf":
                check_gguf(path)
        return weights[0]

"""What the inference service is told through the environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Self

from inference_service.weights import WeightHomes
from jan.settings import CommonSettings, Environment, SettingsError, check_socket_path

# Whoever supervises us kills after 40 s (deploy/local/supervision.py, docker-compose.yml), and what follows the drain
# needs up to 10 of them: 3 for last words, 5 for engines to end, and the rest for open calls.
_MOST_DRAIN_SECONDS = 30


@dataclass(frozen=True, slots=True)
class InferenceSettings:
    """The inference service's settings; docs/engines.md explains each."""

    common: CommonSettings
    homes: WeightHomes
    """Where weights are; only read."""
    most_loaded_models: int
    """Models in memory side by side."""
    most_jobs: int
    """Jobs in hand, over all models."""
    load_timeout: timedelta
    """How long a model may take to load."""
    drain_time: timedelta
    """How long running answers may take to end after SIGTERM."""

    @classmethod
    def from_environment(cls, values: Mapping[str, str]) -> Self:
        """Read the variables. Raises SettingsError: one cannot be used."""
        environment = Environment(values)
        common = CommonSettings.from_environment(environment)
        if "," in common.inference_addr:
            raise SettingsError("JANROOT_INFERENCE_ADDR names several addresses, but this service has only one.")
        check_socket_path("JANROOT_RUN_DIR", f"unix:{common.run_dir}/engines/01234567.sock")
        load_seconds = environment.integer("JANROOT_LOAD_TIMEOUT_SECONDS", 600, 1, 86_400)
        drain_seconds = environment.integer("JANROOT_DRAIN_SECONDS", 25, 0, _MOST_DRAIN_SECONDS)
        return cls(
            common=common,
            homes=WeightHomes(environment.path("JANROOT_MODELS_PATH", str(common.janroot / "models")), common.janroot),
            most_loaded_models=environment.integer("JANROOT_MAX_LOADED_MODELS", 3, 1, 1_000),
            most_jobs=environment.integer("JANROOT_MAX_JOBS", 512, 1, 100_000),
            load_timeout=timedelta(seconds=load_seconds),
            drain_time=timedelta(seconds=drain_seconds),
        )

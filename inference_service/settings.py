"""What the inference service is told through the environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Self

from inference_service.devices.declared import read_declared
from inference_service.devices.device import Inventory
from inference_service.engines.vllm_python import find_vllm_python
from inference_service.memory.residency import Policy
from inference_service.remote_keys import RemoteKeys
from inference_service.weights.files import WeightHomes
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
    inventory: Inventory | None
    """Declared devices; None to look what this host has."""
    policy: Policy
    """When models make room for each other."""
    idle_seconds: float | None
    """How long a model may rest before it is unloaded; None for ever."""
    most_jobs: int
    """Jobs in hand, over all models."""
    load_timeout: timedelta
    """How long a model may take to load."""
    vllm_python: Path | None
    """The interpreter that has vLLM; None when there is none."""
    remote_keys: RemoteKeys
    """Keys for models that are elsewhere."""
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
        idle_seconds = environment.integer("JANROOT_IDLE_SECONDS", 1_800, -1, 366 * 86_400)
        return cls(
            common=common,
            homes=WeightHomes(environment.path("JANROOT_MODELS_PATH", str(common.janroot / "models")), common.janroot),
            inventory=_inventory(environment),
            policy=_policy(environment),
            idle_seconds=None if idle_seconds < 0 else float(idle_seconds),
            most_jobs=environment.integer("JANROOT_MAX_JOBS", 512, 1, 100_000),
            load_timeout=timedelta(seconds=load_seconds),
            vllm_python=find_vllm_python(values),
            remote_keys=_remote_keys(environment, common.janroot),
            drain_time=timedelta(seconds=drain_seconds),
        )


def _inventory(environment: Environment) -> Inventory | None:
    value = environment.text("JANROOT_DEVICES", "")
    try:
        return read_declared(value) if value else None
    except ValueError as error:
        raise SettingsError(f"JANROOT_DEVICES {error}.") from None


def _remote_keys(environment: Environment, janroot: Path) -> RemoteKeys:
    value = environment.text("JANROOT_REMOTE_KEYS", "")
    try:
        return RemoteKeys.read(value, janroot) if value else RemoteKeys()
    except ValueError as error:
        raise SettingsError(f"JANROOT_REMOTE_KEYS {error}.") from None


def _policy(environment: Environment) -> Policy:
    most = environment.text("JANROOT_MAX_LOADED_MODELS", "")
    return Policy(
        min_residency_seconds=environment.integer("JANROOT_MIN_RESIDENCY_SECONDS", 10, 0, 86_400),
        patience_seconds=environment.integer("JANROOT_PATIENCE_SECONDS", 60, 0, 86_400),
        most_models=environment.integer("JANROOT_MAX_LOADED_MODELS", 0, 1, 1_000) if most else None,
    )

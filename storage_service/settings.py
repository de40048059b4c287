"""The storage service's settings, read once from the environment."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from jan.settings import CommonSettings, Environment
from storage_service.store import seed


@dataclass(frozen=True, slots=True)
class StorageSettings:
    """`demo_weights`: the GGUF that a new janroot is given as its first model; None for no model."""

    common: CommonSettings
    demo_weights: Path | None

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Self:
        """Read every variable. Raises SettingsError: a value that cannot be used."""
        return cls(
            common=CommonSettings.from_environment(Environment(environ)),
            demo_weights=seed.find_demo_weights(environ),
        )

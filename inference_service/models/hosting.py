"""The settings of a model that its host heeds, whatever the engine: how long it may rest, how many copies there are."""

from __future__ import annotations

from dataclasses import dataclass, replace

from inference_service.engines.model_settings import ModelSettings

_A_YEAR_SECONDS = 366 * 86_400


@dataclass(frozen=True, slots=True)
class HostingSettings:
    """idle_seconds: unload after so long without a job; None for never. replicas: at most so many copies."""

    idle_seconds: float | None = None
    replicas: int = 64

    @classmethod
    def take(cls, settings: ModelSettings, default_idle_seconds: float | None) -> HostingSettings:
        """Read them; -1 as `idle_seconds` means never, 0 at once. What cannot be used is a warning of `settings`."""
        idle = settings.optional_integer("idle_seconds", -1, _A_YEAR_SECONDS)
        seconds = default_idle_seconds if idle is None else None if idle < 0 else float(idle)
        return cls(seconds, settings.integer("replicas", 64, 1, 64))

    def limited_to(self, replicas: int) -> HostingSettings:
        """The same with at most so many copies."""
        return replace(self, replicas=max(1, min(self.replicas, replicas)))

"""A thread's models as Jan's specification lists them, with all that is in force and where it comes from."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from gateway.completions.parameters import NAMES, layered, unused_parameters
from gateway.models.settings import layered_settings, usable_settings
from gateway.models.threads import Layer, Overrides
from jan.storage.v1 import models_pb2

# What nobody sets is the engine's own affair.
_ENGINE = "engine"


def thread_model(
    thread_id: str,
    model: models_pb2.Model,
    layers: Iterable[Layer],
    overrides: Overrides,
    *,
    answers: bool,
    available: bool,
) -> dict[str, Any]:
    """One model in a thread: each value that a run would be answered with, and the layer that gave it."""
    parameters: dict[str, Any] = dict.fromkeys(NAMES)
    origins = dict.fromkeys(NAMES, _ENGINE)
    known = list(layers)
    for layer in known:
        values = layered(layer.parameters)
        parameters |= values
        origins |= dict.fromkeys(values, layer.name)
    settings = layered_settings((layer.name, layer.settings) for layer in known)
    return {
        "id": model.id,
        "object": "thread.model",
        "thread_id": thread_id,
        "answers": answers,
        "available": available,
        "parameters": parameters,
        "settings": {name: value for name, (value, _) in settings.items()},
        "layers": {"parameters": origins, "settings": {name: origin for name, (_, origin) in settings.items()}},
        "overrides": {"parameters": overrides.parameters, "settings": overrides.settings},
        "not_applied": _not_applied(overrides, model.engine),
    }


def _not_applied(overrides: Overrides, engine: str) -> list[str]:
    """What the thread says and nobody heeds: parameters that cannot be understood, settings its engine has not."""
    unknown = [f"parameters.{name}" for name in unused_parameters(overrides.parameters, engine)]
    usable = usable_settings(overrides.settings, engine)
    return unknown + [f"settings.{name}" for name in overrides.settings if name not in usable]

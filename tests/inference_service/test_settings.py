from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from inference_service.memory.residency import Policy
from inference_service.settings import InferenceSettings
from jan.settings import SettingsError


def test_defaults() -> None:
    settings = InferenceSettings.from_environment({"JANROOT_PATH": "/data"})
    assert settings.homes.models == Path("/data/models")
    assert settings.policy == Policy(min_residency_seconds=10, patience_seconds=60, most_models=None)
    assert (settings.inventory, settings.idle_seconds) == (None, 1800.0)
    assert settings.drain_time == timedelta(seconds=25)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("JANROOT_MAX_LOADED_MODELS", "0"),
        ("JANROOT_MAX_JOBS", "many"),
        ("JANROOT_IDLE_SECONDS", "-2"),
        ("JANROOT_MIN_RESIDENCY_SECONDS", "soon"),
        ("JANROOT_PATIENCE_SECONDS", "-1"),
        ("JANROOT_DEVICES", "/nowhere.json"),
        ("JANROOT_DEVICES", "[]"),
        ("JANROOT_LOAD_TIMEOUT_SECONDS", "-1"),
        ("JANROOT_DRAIN_SECONDS", "31"),
        ("JANROOT_INFERENCE_ADDR", "a:1,b:2"),
        ("JANROOT_RUN_DIR", "/" + "x" * 90),
    ],
)
def test_what_cannot_be_used_is_told(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=name):
        InferenceSettings.from_environment({name: value})

"""What the storage service is told by its environment."""

from __future__ import annotations

from pathlib import Path

import pytest

from jan.settings import SettingsError
from storage_service.settings import StorageSettings


def test_the_demo_weights_are_the_ones_named(tmp_path: Path) -> None:
    weights = tmp_path / "tiny.gguf"
    weights.write_bytes(b"GGUF")
    settings = StorageSettings.from_environment({"JANROOT_DEMO_GGUF": str(weights), "JANROOT_PATH": str(tmp_path)})
    assert settings.demo_weights == weights
    assert settings.common.janroot == tmp_path


def test_a_socket_path_that_the_kernel_would_cut_is_refused() -> None:
    with pytest.raises(SettingsError, match="JANROOT_STORAGE_ADDR"):
        StorageSettings.from_environment({"JANROOT_STORAGE_ADDR": "unix:/" + "x" * 120})


def test_folders_to_import_from_are_absolute_ones_with_colons_between() -> None:
    settings = StorageSettings.from_environment({"JANROOT_IMPORT_PATHS": "/srv/models:/mnt/big disk/: "})
    assert settings.import_paths == (Path("/srv/models"), Path("/mnt/big disk"))
    assert StorageSettings.from_environment({}).import_paths == ()
    for wrong in ("models", "/srv/../etc"):
        with pytest.raises(SettingsError, match="JANROOT_IMPORT_PATHS"):
            StorageSettings.from_environment({"JANROOT_IMPORT_PATHS": wrong})

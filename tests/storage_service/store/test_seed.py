"""What a new janroot holds, and that a user's choice to remove it is respected."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest

from jan.ids import AssistantId, ModelId
from jan.settings import SettingsError
from storage_service.store import seed
from storage_service.store.store import Store

DEMO = ModelId(seed.DEMO_MODEL)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.gguf"
    path.write_bytes(b"GGUF")
    return path


def test_a_new_janroot_has_jan_and_the_demo_model(janroot: Path, weights: Path) -> None:
    store = Store.open(janroot, demo_weights=weights)
    assert store.assistants.get(AssistantId("jan")).name == "Jan"
    model = store.models.get(DEMO)
    assert model.files == ("tiny.gguf",)
    assert (janroot / "models" / DEMO / "tiny.gguf").samefile(weights)
    store.close()


def test_weights_on_another_file_system_are_copied(
    janroot: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(source: object, target: object) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    Store.open(janroot, demo_weights=weights).close()
    assert (janroot / "models" / DEMO / "tiny.gguf").read_bytes() == b"GGUF"


def test_a_deleted_demo_model_stays_deleted(janroot: Path, weights: Path) -> None:
    Store.open(janroot, demo_weights=weights).close()
    shutil.rmtree(janroot / "models" / DEMO)
    store = Store.open(janroot, demo_weights=weights)
    assert store.models.all() == []
    store.close()


@pytest.mark.parametrize("made", ['{"name":"Mine"}', "not json, but mine"])
def test_jan_as_its_user_made_it_is_left_alone(janroot: Path, made: str) -> None:
    file = janroot / "assistants" / "jan" / "assistant.json"
    file.parent.mkdir(parents=True)
    file.write_text(made)
    Store.open(janroot).close()
    assert file.read_text() == made


def test_where_the_weights_come_from(weights: Path, tmp_path: Path) -> None:
    assert seed.find_demo_weights({"JANROOT_DEMO_GGUF": str(weights)}) == weights
    with pytest.raises(SettingsError, match=r"JANROOT_DEMO_GGUF is '.*absent', but there is no such file"):
        seed.find_demo_weights({"JANROOT_DEMO_GGUF": str(tmp_path / "absent")})

"""The base of a LoRA adapter is found by what its files say, if only one model here can be meant."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest

from jan.errors import InvalidArgumentError
from jan.ids import ModelId, PullId
from storage_service.store.adapter_bases import find_base, told_by_config
from storage_service.store.model_imports.imports import Wanted
from storage_service.store.pulls.pulls import Piece
from storage_service.store.pulls.record import Pull, PullFile
from storage_service.store.store import Store
from tests.fixtures.gguf_files import gguf, lora, pair, text
from tests.fixtures.tiny_models import tiny_safetensors

ME = "gateway-1"
REPOSITORY = "https://hub.example/Org/Tiny-7B"


def install(janroot: Path, model_id: str, form: str = "safetensors", url: str = "", **settings: object) -> None:
    folder = janroot / "models" / model_id
    folder.mkdir(parents=True)
    sources = [{"filename": f"weights.{form}", "url": url}] if url else []
    described = {"id": model_id, "name": "", "format": form, "sources": sources, "settings": settings}
    (folder / "model.json").write_text(json.dumps(described))
    (folder / f"weights.{form}").write_bytes(b"")


def found(store: Store, told: str, form: str = "safetensors") -> str | None:
    base = find_base([told], store.models.all(), form)
    return None if base is None else base.id


@pytest.mark.parametrize("told", ["Org/Tiny-7B", REPOSITORY, "/home/ann/models/tiny_7b/", "tiny 7B", "other/Tiny-7B"])
def test_a_name_that_only_one_model_has_is_its_base(store: Store, janroot: Path, told: str) -> None:
    install(janroot, "tiny-7b")
    install(janroot, "tiny-7b-lora", base_model="tiny-7b")
    install(janroot, "tiny-7b.Q4_K_M", "gguf")
    assert found(store, told) == "tiny-7b"
    assert found(store, told, "gguf") == "tiny-7b.Q4_K_M"


def test_the_very_repository_comes_before_others_of_that_name(store: Store, janroot: Path) -> None:
    install(janroot, "mine", url=f"{REPOSITORY}/resolve/main/weights.safetensors")
    install(janroot, "else/tiny-7b")
    assert found(store, "Org/Tiny-7B") == "mine"


def test_what_could_be_two_or_none_is_left_open(store: Store, janroot: Path) -> None:
    for model_id in ("a/tiny-7b", "b/tiny-7b", "tiny-8b"):
        install(janroot, model_id)
    for told in ("tiny-7b", "tiny-9b", "", "///", "Tiny"):
        assert found(store, told) is None
    assert find_base([], store.models.all(), "safetensors") is None


@pytest.mark.parametrize("config", ["{", "[]", '{"base_model_name_or_path": 7}', '{"base_model_name_or_path": ""}'])
def test_a_configuration_that_says_nothing_is_no_reason_to_fail(tmp_path: Path, config: str) -> None:
    (tmp_path / "adapter_config.json").write_text(config)
    assert told_by_config(tmp_path / "adapter_config.json") == []
    assert told_by_config(tmp_path / "missing.json") == []


def lora_folder(**config: Any) -> dict[str, bytes]:
    return {
        "adapter_model.safetensors": tiny_safetensors(),
        "adapter_config.json": json.dumps({"r": 8, **config}).encode(),
    }


def lora_file() -> dict[str, bytes]:
    texts = {"general.type": "adapter", "adapter.type": "lora", "general.architecture": "llama"}
    texts["general.base_model.0.repo_url"] = REPOSITORY
    pairs = b"".join(pair(key, 8, text(value)) for key, value in texts.items())
    alpha = pair("adapter.lora.alpha", 6, struct.pack("<f", 1.0))
    return {"lora.gguf": gguf(pairs + alpha, len(texts) + 1, lora("blk.0.attn_q.weight", 8, 4, strength=1))}


def pulled(store: Store, files: dict[str, bytes], form: str, **settings: object) -> dict[str, Any]:
    """The settings of a downloaded adapter."""
    wanted = Pull(
        id=PullId(""),
        model_id=ModelId("adapter"),
        source="test",
        files=tuple(PullFile(name, f"http://host/{name}", len(data)) for name, data in files.items()),
        model_json={"id": "adapter", "format": form, "settings": settings},
        created_ms=0,
    )
    pull_id = store.pulls.begin(wanted).pull.id
    for name, data in files.items():
        store.pulls.write(pull_id, ME, Piece(name, 0, data, size_bytes=len(data)))
        store.pulls.finish_file(pull_id, ME, name)
    store.pulls.publish(pull_id, ME)
    settings_now: dict[str, Any] = store.models.get(ModelId("adapter")).settings
    return settings_now


def test_a_downloaded_adapter_gets_its_base(store: Store, janroot: Path) -> None:
    install(janroot, "Tiny-7B")
    assert pulled(store, lora_folder(base_model_name_or_path="Org/Tiny-7B"), "safetensors") == {"base_model": "Tiny-7B"}


def test_a_downloaded_gguf_adapter_gets_its_base_and_no_context_of_its_own(store: Store, janroot: Path) -> None:
    install(janroot, "Tiny-7B-Q4_0", "gguf")
    assert pulled(store, lora_file(), "gguf") == {"base_model": "Tiny-7B-Q4_0"}


def test_a_base_that_was_named_counts_and_one_that_is_not_clear_is_left_out(store: Store, janroot: Path) -> None:
    install(janroot, "Tiny-7B")
    files = lora_folder(base_model_name_or_path="Org/Tiny-7B")
    assert pulled(store, files, "safetensors", base_model="mine") == {"base_model": "mine"}
    store.model_changes.delete(ModelId("adapter"))
    assert pulled(store, lora_folder(base_model_name_or_path="Org/Other"), "safetensors") == {}


def imported(store: Store, folder: Path) -> dict[str, Any]:
    """The settings of an adapter that was taken in."""
    wanted = Wanted(str(folder))
    arriving = store.model_imports.new()
    try:
        arriving.stage(wanted, store.model_imports.paths)
        return arriving.publish(wanted).settings
    finally:
        arriving.discard()


def test_an_import_finds_the_base_or_says_what_the_adapter_is_for(store: Store, janroot: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk/lora"
    disk.mkdir(parents=True)
    for name, data in lora_folder(base_model_name_or_path="Org/Tiny-7B").items():
        (disk / name).write_bytes(data)
    store.model_imports.allow([tmp_path / "disk"])
    with pytest.raises(InvalidArgumentError, match=r"it was made for 'Org/Tiny-7B'.*say in 'base_model'") as refused:
        imported(store, disk)
    assert refused.value.param == "base_model"
    install(janroot, "tiny-7b")
    assert imported(store, disk) == {"base_model": "tiny-7b"}

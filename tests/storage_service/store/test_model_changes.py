"""Models are changed in the generation they have, deleted with what is theirs, and come back whole."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from jan.errors import (
    ConflictError,
    FailedPreconditionError,
    NotFoundError,
    PreconditionFailedError,
)
from jan.ids import ModelId, TrashId
from storage_service.store import atomic, trash
from storage_service.store.forms.models import ModelChange
from storage_service.store.paging import PageQuery
from storage_service.store.records import TrashEntry
from storage_service.store.store import Store
from tests.fixtures import jan_models
from tests.fixtures.jan_files import put
from tests.storage_service.store.crashes import Crash, crash_points


def the_entry(store: Store) -> TrashEntry:
    [entry] = store.trash.page(PageQuery(limit=100, descending=False)).items
    return entry


def listed(store: Store) -> list[str]:
    return [model.id for model in store.models.all()]


def files(root: Path) -> dict[str, Any]:
    """Every file and link outside of the server's own folder, with what it holds."""
    found = (path for path in root.rglob("*") if ".server" not in path.parts and not path.is_dir())
    return {str(path.relative_to(root)): path.readlink() if path.is_symlink() else path.read_bytes() for path in found}


@pytest.mark.parametrize("model_id", jan_models.MODEL_IDS)
def test_every_generation_is_deleted_alone_and_comes_back(store: Store, janroot: Path, model_id: str) -> None:
    jan_models.every_model(janroot)
    before = files(janroot)
    store.model_changes.delete(ModelId(model_id))
    assert listed(store) == [other for other in jan_models.MODEL_IDS if other != model_id]
    entry = the_entry(store)
    assert (entry.kind, entry.expires_ms - entry.deleted_ms) == ("model", 30 * trash.DAY_MS)
    with pytest.raises(NotFoundError):
        store.models.get(ModelId(model_id))
    store.restore(entry.id)
    assert files(janroot) == before
    assert listed(store) == jan_models.MODEL_IDS


def test_a_nested_model_comes_back_to_a_folder_that_is_gone(store: Store, janroot: Path) -> None:
    jan_models.gen4_model(janroot, "vendor/name")
    store.model_changes.delete(ModelId("vendor/name"))
    entry = the_entry(store)
    assert [(item.id, item.title) for item in entry.items] == [("vendor/name", "Vendor/Name")]
    (janroot / "models/vendor").rmdir()
    store.restore(entry.id)
    assert listed(store) == ["vendor/name"]


def test_models_below_another_ones_folder_stay(store: Store, janroot: Path) -> None:
    put(janroot / "models/org/org.json", {"object": "model", "source_url": "w.gguf"})
    put(janroot / "models/org/w.gguf", b"GGUF")
    jan_models.gen4_model(janroot, "org/other")
    assert listed(store) == ["org", "org/other"]
    store.model_changes.delete(ModelId("org"))
    assert listed(store) == ["org/other"]
    assert sorted(item.id for item in the_entry(store).items) == ["org/org.json", "org/w.gguf"]


def test_weights_that_two_models_share_stay_until_the_last_one_goes(store: Store, janroot: Path) -> None:
    for name in ("a", "b"):
        put(janroot / f"models/pair/{name}.json", {"object": "model", "source_url": "shared.gguf"})
    put(janroot / "models/pair/shared.gguf", b"GGUF")
    store.model_changes.delete(ModelId("pair/a"))
    assert (janroot / "models/pair/shared.gguf").exists()
    store.model_changes.delete(ModelId("pair/b"))
    assert not (janroot / "models/pair").exists()


def test_links_go_and_what_they_lead_to_stays(store: Store, janroot: Path, tmp_path: Path) -> None:
    weights = tmp_path / "big.gguf"
    weights.write_bytes(b"GGUF")
    put(janroot / "models/linked/model.json", {"format": "gguf", "sources": [{"filename": "big.gguf"}]})
    (janroot / "models/linked/big.gguf").symlink_to(weights)
    assert store.models.get(ModelId("linked")).size_bytes == 4
    store.model_changes.delete(ModelId("linked"))
    store.trash.delete(the_entry(store).id)
    assert weights.read_bytes() == b"GGUF"


def test_the_base_of_adapters_is_not_deleted(store: Store, janroot: Path) -> None:
    jan_models.gen4_model(janroot, "base")
    for name in ("lora-a", "vendor/lora-b"):
        put(janroot / f"models/{name}/model.json", {"format": "safetensors", "settings": {"base_model": "base"}})
    with pytest.raises(ConflictError, match=r"the base of lora-a, vendor/lora-b") as refused:
        store.model_changes.delete(ModelId("base"))
    assert refused.value.code == "model_in_use"
    assert store.trash.page(PageQuery(limit=1, descending=False)).items == ()
    for name in ("lora-a", "vendor/lora-b", "base"):
        store.model_changes.delete(ModelId(name))


def test_a_base_is_found_by_its_own_name_too_and_a_model_that_names_itself_goes(store: Store, janroot: Path) -> None:
    put(
        janroot / "models/folder/model.json", {"id": "own-name", "format": "gguf", "settings": {"base_model": "folder"}}
    )
    store.model_changes.delete(ModelId("folder"))
    put(janroot / "models/folder/model.json", {"id": "own-name", "format": "gguf"})
    put(janroot / "models/lora/model.json", {"format": "gguf", "settings": {"base_model": "own-name"}})
    with pytest.raises(ConflictError, match="the base of lora"):
        store.model_changes.delete(ModelId("folder"))


def test_nothing_is_put_over_a_model_that_came_meanwhile(store: Store, janroot: Path) -> None:
    jan_models.gen4_model(janroot, "demo")
    store.model_changes.delete(ModelId("demo"))
    jan_models.gen4_model(janroot, "demo")
    before = files(janroot)
    with pytest.raises(FailedPreconditionError, match="'demo' cannot be put back"):
        store.restore(the_entry(store).id)
    assert files(janroot) == before


@pytest.mark.parametrize(
    "item", ["..%2F..%2Fevil", "%2F..%2Fetc", "%2Fthreads%2Fx", "%2F.server%2Flock2", "%2Fmodels", "%2E%2E", "a%00b"]
)
def test_a_strangers_trash_leads_nowhere_else(store: Store, janroot: Path, item: str) -> None:
    entry = TrashId("model-0000000000001-00000000")
    folder = janroot / ".server/trash" / entry / item
    put(folder / "model.json", {"format": "gguf"})
    before = files(janroot.parent)
    with pytest.raises(FailedPreconditionError):
        store.restore(entry)
    assert files(janroot.parent) == before
    assert folder.exists()


def test_a_link_on_the_way_back_is_not_followed(store: Store, janroot: Path, tmp_path: Path) -> None:
    jan_models.gen4_model(janroot, "vendor/name")
    store.model_changes.delete(ModelId("vendor/name"))
    (janroot / "models/vendor").rmdir()
    (janroot / "models/vendor").symlink_to(tmp_path)
    with pytest.raises(FailedPreconditionError):
        store.restore(the_entry(store).id)
    assert not (tmp_path / "name").exists()


def test_a_disk_of_its_own_for_models_is_told(store: Store, janroot: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jan_models.gen4_model(janroot, "demo")
    monkeypatch.setattr(atomic, "move", Mock(side_effect=OSError(errno.EXDEV, "Invalid cross-device link")))
    with pytest.raises(FailedPreconditionError, match="another file system"):
        store.model_changes.delete(ModelId("demo"))
    assert listed(store) == ["demo"]


@pytest.mark.parametrize("work", ["delete", "restore"])
def test_a_deletion_is_whole_whenever_the_process_dies(store: Store, janroot: Path, work: str) -> None:
    jan_models.gen4_model(janroot, "vendor/name")
    before = files(janroot)
    if work == "restore":
        store.model_changes.delete(ModelId("vendor/name"))
    store.close()
    for crash in crash_points():
        died = Store.open(janroot)
        try:
            with crash:
                if work == "delete":
                    died.model_changes.delete(ModelId("vendor/name"))
                else:
                    died.restore(the_entry(died).id)
        except Crash:
            pass
        died.close()
        reopened = Store.open(janroot)
        if not listed(reopened):
            reopened.restore(the_entry(reopened).id)
        assert files(janroot) == before
        if work == "restore":
            reopened.model_changes.delete(ModelId("vendor/name"))
        reopened.close()


@pytest.mark.parametrize("model_id", jan_models.MODEL_IDS)
def test_every_generation_is_changed_in_its_own_form(store: Store, janroot: Path, model_id: str) -> None:
    jan_models.every_model(janroot)
    before = store.models.get(ModelId(model_id))
    change = ModelChange(name="New", settings={"ctx_len": 1234, "x": 1}, parameters={"temperature": 0.5, "top_p": None})
    served = store.models.find(ModelId(model_id))
    if served.description.path.suffix != ".json":
        with pytest.raises(FailedPreconditionError, match="described by") as refused:
            store.model_changes.change(ModelId(model_id), change)
        assert refused.value.code == "model_read_only"
        return
    after = store.model_changes.change(ModelId(model_id), change)
    assert after == store.models.get(ModelId(model_id))
    assert after.revision not in ("", before.revision)
    assert after.name == "New"
    assert after.settings == before.settings | {"ctx_len": 1234, "x": 1}
    kept = {key: value for key, value in before.parameters.items() if key != "top_p"}
    assert after.parameters == kept | {"temperature": 0.5}
    assert (after.files, after.engine, after.metadata) == (before.files, before.engine, before.metadata)


def test_unknown_keys_and_keys_that_are_not_shown_stay(store: Store, janroot: Path) -> None:
    file = {"format": "gguf", "extra": {"deep": [1]}, "settings": {"api_key": "sk-123", "none": None}}
    put(janroot / "models/m/model.json", file)
    created_ms = store.models.get(ModelId("m")).created_ms
    store.model_changes.change(ModelId("m"), ModelChange(settings={"ngl": 3}, metadata={"tags": ["a"]}))
    assert json.loads((janroot / "models/m/model.json").read_text()) == file | {
        "settings": {"api_key": "sk-123", "none": None, "ngl": 3},
        "parameters": {},
        "metadata": {"tags": ["a"]},
        "created": created_ms,
    }
    assert store.models.get(ModelId("m")).created_ms == created_ms


def test_only_the_state_that_was_seen_is_changed_or_deleted(store: Store, janroot: Path) -> None:
    jan_models.gen4_model(janroot, "demo")
    seen = store.models.get(ModelId("demo")).revision
    after = store.model_changes.change(ModelId("demo"), ModelChange(name="New"), [seen])
    with pytest.raises(PreconditionFailedError):
        store.model_changes.change(ModelId("demo"), ModelChange(name="Newer"), [seen])
    with pytest.raises(PreconditionFailedError):
        store.model_changes.delete(ModelId("demo"), [seen])
    assert store.models.get(ModelId("demo")).name == "New"
    store.model_changes.delete(ModelId("demo"), ["other", after.revision])

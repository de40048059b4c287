"""Weights that somebody drags into models/ are served under their name, and described once they are changed."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from jan.errors import FailedPreconditionError, PreconditionFailedError
from jan.ids import ModelId
from storage_service.store.forms.models import ModelChange
from storage_service.store.report.findings import Kind
from storage_service.store.store import Store
from tests.fixtures.tiny_models import lora_folder, safetensors_folder, tiny_gguf
from tests.storage_service.store.test_model_changes import files, listed, the_entry
from tests.storage_service.store.test_model_imports import put


def test_a_file_in_models_itself_is_called_as_it_is(store: Store, janroot: Path) -> None:
    put(janroot / "models/Smol LM2 (Q4).gguf")
    [model] = store.models.all()
    assert (model.id, model.name, model.engine, model.format) == ("Smol-LM2-Q4", "Smol-LM2-Q4", "llamacpp", "gguf")
    assert (model.folder, model.files, model.size_bytes) == ("models", ("Smol LM2 (Q4).gguf",), len(tiny_gguf()))
    assert [(finding.path, finding.kind) for finding in store.report(100).findings] == [
        ("models/Smol LM2 (Q4).gguf", Kind.DROPPED_WEIGHTS)
    ]


def test_weights_whose_folder_can_be_no_id_are_not_said_to_be_served(store: Store, janroot: Path) -> None:
    put(janroot / "models/bad name/mine.gguf")
    assert store.models.all() == []
    assert [(finding.path, finding.kind) for finding in store.report(100).findings] == [
        ("models/bad name/mine.gguf", Kind.FOREIGN_NAME)
    ]


def test_a_folder_with_one_model_gives_it_its_name_and_with_several_each_its_own(store: Store, janroot: Path) -> None:
    put(janroot / "models/one/weights.gguf")
    put(janroot / "models/one/mmproj-weights.gguf")
    for name in ("a.gguf", "b-00001-of-00002.gguf", "b-00002-of-00002.gguf"):
        put(janroot / "models/vendor/pair" / name)
    safetensors_folder(janroot / "models/st")
    safetensors_folder(janroot / "models/st/2_Dense")
    lora_folder(janroot / "models/adapter")
    assert {model.id: model.files for model in store.models.all()} == {
        "one": ("weights.gguf", "mmproj-weights.gguf"),
        "st": ("model.safetensors",),
        "vendor/pair/a": ("a.gguf",),
        "vendor/pair/b": ("b-00001-of-00002.gguf", "b-00002-of-00002.gguf"),
    }
    findings = {(finding.path, finding.kind) for finding in store.report(100).findings}
    assert ("models/adapter", Kind.NO_DESCRIPTION) in findings
    assert store.models.get(ModelId("st")).engine == "vllm"


def test_a_description_is_always_believed_first(store: Store, janroot: Path) -> None:
    put(janroot / "models/told/w.gguf")
    put(janroot / "models/told/model.json", b'{"format": "gguf", "name": "Told"}')
    put(janroot / "models/broken/w.gguf")
    put(janroot / "models/broken/model.json", b"{")
    put(janroot / "models/draft/w.gguf")
    put(janroot / "models/draft/q4.json", b'{"object": "model", "source_url": "w.gguf"}')
    put(janroot / "assistants/jan/models/guest/w.gguf")
    assert {model.id: model.name for model in store.models.all()} == {"told": "Told", "draft/q4": "draft/q4"}


def test_it_is_as_old_as_its_stay_so_a_new_one_changes_no_conversation(store: Store, janroot: Path) -> None:
    old = put(janroot / "models/old/w.gguf")
    put(janroot / "models/told/model.json", b'{"format": "gguf", "created": 1704504633}')
    os.utime(old, (1_000_000_000, 1_000_000_000))
    assert store.models.get(ModelId("old")).created_ms > store.models.get(ModelId("told")).created_ms


def test_a_change_writes_what_was_not_told(store: Store, janroot: Path) -> None:
    put(janroot / "models/vendor/mine/w.gguf")
    before = store.models.get(ModelId("vendor/mine"))
    after = store.model_changes.change(before.id, ModelChange(name="Mine", settings={"ctx_len": 99}), [before.revision])
    assert (after.name, after.settings) == ("Mine", {"llama_model_path": "w.gguf", "ctx_len": 99})
    assert (after.files, after.created_ms) == (before.files, before.created_ms)
    file = json.loads((janroot / "models/vendor/mine/model.json").read_text())
    assert (file["id"], file["name"]) == ("vendor/mine", "Mine")
    with pytest.raises(PreconditionFailedError):
        store.model_changes.change(before.id, ModelChange(name="Again"), [before.revision])
    assert listed(store) == ["vendor/mine"]


@pytest.mark.parametrize("names", [("mine.gguf",), ("vendor/a.gguf", "vendor/mine.gguf")])
def test_among_others_it_is_not_changed_but_deleted_alone(store: Store, janroot: Path, names: tuple[str, ...]) -> None:
    for name in names:
        put(janroot / "models" / name)
    put(janroot / "models/other/model.json", b'{"format": "gguf"}')
    before, ids = files(janroot), listed(store)
    weights = {str(model.id): model.files for model in store.models.all()}
    [mine] = [model_id for model_id in ids if model_id.endswith("mine")]
    with pytest.raises(FailedPreconditionError, match=f"move them into models/{mine}/"):
        store.model_changes.change(ModelId(mine), ModelChange(name="Mine"))
    store.model_changes.delete(ModelId(mine))
    rest = [model_id for model_id in ids if model_id != mine]
    assert [store.models.get(ModelId(model_id)).files for model_id in rest] == [weights[i] for i in rest]
    store.restore(the_entry(store).id)
    assert (files(janroot), listed(store)) == (before, ids)

"""Names and links below models/ that nobody would make on purpose hide no other model."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from jan.ids import ModelId
from storage_service.servicers.models import to_proto
from storage_service.store.report.findings import Kind
from storage_service.store.store import Store
from tests.fixtures.tiny_models import safetensors_folder, tiny_gguf
from tests.storage_service.store.test_model_imports import put


@pytest.mark.parametrize("odd", [b"a\nb", b"a\x1b[31m", b"\xff\xfe", b"a\x7f"], ids=repr)
def test_names_of_files(store: Store, janroot: Path, odd: bytes) -> None:
    put(janroot / "models/good.gguf")
    put(janroot / "models/told/w.gguf")
    put(janroot / "models/told/model.json", b'{"format": "gguf"}')
    safetensors_folder(janroot / "models/st")
    name = os.fsdecode(odd)
    for place in ("models", "models/alone", "models/told", "models/st"):
        for ending in (".gguf", ".safetensors", ".json"):
            put(janroot / place / f"{name}{ending}")
    put(janroot / "models" / name / "w.gguf")
    models = store.models.all()
    assert [(model.id, list(model.files)) for model in map(to_proto, models)] == [
        ("good", ["good.gguf"]),
        ("st", ["model.safetensors"]),
        ("told", ["w.gguf"]),
    ]
    assert store.models.get(ModelId("told")).files == ("w.gguf",)
    findings = {(finding.path, finding.kind) for finding in store.report(100).findings}
    assert ("models/alone", Kind.NO_DESCRIPTION) in findings
    assert (f"models/{name}/w.gguf", Kind.FOREIGN_NAME) in findings


@pytest.mark.parametrize("name", ["loop", "loop.gguf", "loop.safetensors", "loop.json", "model.json"])
def test_links_that_lead_to_themselves(store: Store, janroot: Path, name: str) -> None:
    put(janroot / "models/good.gguf")
    (janroot / "models/inner").mkdir()
    for folder in ("models/inner",) if name == "model.json" else ("models", "models/inner"):
        (janroot / folder / name).symlink_to(name)
    sizes = {str(model.id): model.size_bytes for model in store.models.all()}
    assert sizes.pop("good") == len(tiny_gguf())
    assert set(sizes) <= {"inner", "loop"}
    assert set(sizes.values()) <= {None}
    assert "models/good.gguf" in {finding.path for finding in store.report(100).findings}


def test_a_description_that_is_no_text(store: Store, janroot: Path) -> None:
    put(janroot / "models/good.gguf")
    put(janroot / "models/odd/w.gguf")
    put(
        janroot / "models/odd/model.json",
        b'{"format": "gguf", "name": "\\ud800", "sources": [{"filename": "\\udcff"}]}',
    )
    assert "good" in [model.id for model in map(to_proto, store.models.all())]

"""Models as people and Jan describe them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from jan.errors import NotFoundError
from jan.ids import ModelId
from storage_service.store.report.findings import Kind
from storage_service.store.store import Store


def add(janroot: Path, name: str, file: object) -> None:
    folder = janroot / "models" / name
    folder.mkdir(parents=True)
    (folder / "model.json").write_text(file if isinstance(file, str) else json.dumps(file))


def test_jans_local_model(store: Store, janroot: Path) -> None:
    file = {
        "sources": [{"filename": "demo.gguf", "url": "https://hub.example/demo.gguf"}],
        "id": "another name",
        "object": "model",
        "name": "Demo 7B Q4",
        "version": "1.0",
        "description": "Chat model",
        "format": "gguf",
        "settings": {"ctx_len": 4096, "llama_model_path": "demo.gguf", "mmproj": "mmproj.gguf"},
        "parameters": {"temperature": 0.7},
        "metadata": {"author": "Org, Quantiser"},
        "engine": "nitro",
        "created": 1704504633,
    }
    add(janroot, "vendor/demo", file)
    [model] = store.models.all()
    assert model == store.models.get(ModelId("vendor/demo"))
    assert (model.id, model.name, model.owned_by) == ("vendor/demo", "Demo 7B Q4", "Org, Quantiser")
    assert (model.engine, model.format, model.created_ms) == ("llamacpp", "gguf", 1704504633000)
    assert model.files == ("demo.gguf", "mmproj.gguf")
    assert model.source_url == "https://hub.example/demo.gguf"


def test_a_remote_model_has_an_address_and_no_files(store: Store, janroot: Path) -> None:
    add(janroot, "gpt", {"sources": [{"url": "http://host:1/v1"}], "format": "api", "engine": "groq"})
    model = store.models.get(ModelId("gpt"))
    assert (model.engine, model.format, model.files, model.source_url) == ("openai", "api", (), "http://host:1/v1")


def test_weights_never_lead_out_of_the_models_folder(store: Store, janroot: Path) -> None:
    names = ["/etc/passwd", "../other/w.gguf", "C:\\w.gguf", "N/A", "", "sub/w.gguf", 7]
    add(
        janroot, "m", {"sources": [{"filename": name} for name in names], "settings": {"llama_model_path": "a/../../b"}}
    )
    assert store.models.get(ModelId("m")).files == ("sub/w.gguf",)


@pytest.mark.parametrize(
    ("file", "engine"),
    [
        ({}, "llamacpp"),
        ({"format": "safetensors"}, "vllm"),
        ({"engine": "vllm"}, "vllm"),
        ({"engine": "nitro-tensorrt-llm"}, "nitro-tensorrt-llm"),
    ],
)
def test_the_engine_that_runs_it(store: Store, janroot: Path, file: object, engine: str) -> None:
    add(janroot, "m", file)
    assert store.models.get(ModelId("m")).engine == engine


def test_broken_neighbours_hide_nobody(store: Store, janroot: Path, tmp_path: Path) -> None:
    add(janroot, "ok", {"created": 0})
    add(janroot, "broken", "{")
    add(janroot, "bad name", {})
    (janroot / "models" / "stray.gguf").write_text("")
    (janroot / "models" / "weights only").mkdir()
    (janroot / "models" / "link").symlink_to(tmp_path)
    add(janroot, "a/b/c/too_deep", {})
    assert [model.id for model in store.models.all()] == ["ok", "stray"]
    with pytest.raises(NotFoundError) as unknown:
        store.models.get(ModelId("broken"))
    assert unknown.value.code == "model_not_found"


def add_guest(janroot: Path, assistant: str, name: str, file: object) -> Path:
    folder = janroot / "assistants" / assistant / "models" / name
    folder.mkdir(parents=True)
    (folder / "model.json").write_text(json.dumps(file))
    return folder


def test_an_assistants_own_models_are_served_and_hide_no_other(store: Store, janroot: Path) -> None:
    add(janroot, "demo", {"name": "ours", "settings": {"llama_model_path": "demo.gguf"}})
    add_guest(janroot, "shakespeare", "demo", {"name": "theirs"})
    (add_guest(janroot, "shakespeare", "finetuned-model", {"name": "bard"}) / "bard.gguf").touch()
    assert [(model.id, model.name) for model in store.models.all()] == [("demo", "ours"), ("finetuned-model", "bard")]
    model = store.models.get(ModelId("finetuned-model"))
    assert (model.folder, model.files) == ("assistants/shakespeare/models/finetuned-model", ("bard.gguf",))
    assert store.models.get(ModelId("demo")).name == "ours"


@pytest.mark.parametrize("file", [{"format": "api"}, {"engine": "openai"}, {"engine": "groq", "format": "api"}])
def test_a_remote_model_that_came_with_an_assistant_is_not_served(
    store: Store, janroot: Path, file: dict[str, str]
) -> None:
    add_guest(janroot, "spy", "gpt", file | {"id": "gpt-4", "sources": [{"url": "http://spy.test/v1"}]})
    assert store.models.all() == []
    for name in ("gpt", "gpt-4"):
        with pytest.raises(NotFoundError):
            store.models.get(ModelId(name))
    findings = store.report(100).findings
    assert ("assistants/spy/models/gpt/model.json", "http://spy.test/v1") in {
        (one.path, one.detail) for one in findings
    }


def test_models_behind_a_link_are_not_looked_at(store: Store, janroot: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere" / "x").mkdir(parents=True)
    (tmp_path / "elsewhere" / "x" / "model.json").write_text("{}")
    (janroot / "assistants" / "jan" / "models").symlink_to(tmp_path / "elsewhere")
    assert store.models.all() == []


def test_threads_in_an_assistants_folder_are_told(store: Store, janroot: Path) -> None:
    (janroot / "assistants" / "jan" / "threads" / "jan_1704504633").mkdir(parents=True)
    assert [(one.path, one.detail) for one in store.report(100).findings] == [
        ("assistants/jan/threads", "jan_1704504633")
    ]


def test_keys_and_places_on_the_servers_disk_are_answered_nowhere_and_told(store: Store, janroot: Path) -> None:
    add(
        janroot,
        "m",
        {
            "settings": {
                "api_key": "sk-canary",
                "headers": {"Authorization": "Bearer sk-canary"},
                "prompt_template": "token: {prompt}",
                "llama_model_path": "/home/me/m.gguf",
                "mmproj": "C:\\canary\\p.gguf",
            },
            "parameters": {"max_tokens": 7, "apiKey": "sk-canary"},
            "metadata": {"deep": [{"password": "sk-canary"}]},
        },
    )
    (janroot / "models/m/m.gguf").touch()
    (janroot / "models/y").mkdir()
    (janroot / "models/y/model.yml").write_text("model: y\nfiles: [y.gguf]\napi_key: sk-canary\n")
    (janroot / "assistants/jan/assistant.json").write_text('{"id": "jan", "api_key": "sk-canary"}')
    models = store.models.all()
    assert [model.id for model in models] == ["m", "y"]
    assert not any(word in repr(models) for word in ("sk-canary", "/home", "C:"))
    assert models[0].settings["llama_model_path"] == "m.gguf"
    assert models[0].settings["prompt_template"] == "token: {prompt}"
    assert models[0].files[0] == "m.gguf"
    assert models[0].parameters["max_tokens"] == 7
    told = {one.path: one.detail for one in store.report(100).findings if one.kind is Kind.SECRET}
    assert told.keys() == {"models/m/model.json", "models/y/model.yml", "assistants/jan/assistant.json"}
    assert "sk-canary" not in repr(told)

"""Models of every generation, in all the places where Jan had them."""

from __future__ import annotations

from pathlib import Path

import pytest

from jan.ids import ModelId
from storage_service.store.store import Store
from tests.fixtures.jan_files import put, snapshot
from tests.fixtures.jan_models import every_model


def test_every_generation_is_listed(store: Store, janroot: Path) -> None:
    ids = every_model(janroot)
    before = snapshot(janroot)
    assert [model.id for model in store.models.all()] == ids
    assert [store.models.get(ModelId(name)).id for name in ids] == ids
    assert snapshot(janroot) == before


@pytest.mark.parametrize(
    ("name", "engine", "place"),
    [
        ("llama2-70b/q4", "llamacpp", "models/llama2-70b: llama2-70b.q4.gguf"),
        ("zephyr-7b", "llamacpp", "models/zephyr-7b: zephyr-7b-beta.Q4_K_M.gguf"),
        ("openhermes-7b", "llamacpp", "models/openhermes-7b: openhermes-7b"),
        ("llava-7b", "llamacpp", "models/llava-7b: llava.gguf mmproj.gguf"),
        ("gpt-4", "openai", "models/gpt-4: "),
        ("my-own", "llamacpp", "models/my-own: own.gguf"),
        ("tinyllama", "llamacpp", "models/tinyllama: tiny.gguf"),
        ("cortex.so/llama3.2/3b-gguf-q4", "llamacpp", "models/cortex.so/llama3.2/3b-gguf-q4: model.gguf"),
        ("org/demo", "llamacpp", "llamacpp/models/org/demo: model.gguf mmproj.gguf"),
        ("apple-demo", "mlx", "mlx/models/apple-demo: model.safetensors"),
        ("mistral-trt", "nitro-tensorrt-llm", "models/mistral-trt: config.json rank0.engine tokenizer.model"),
    ],
)
def test_what_runs_it_and_where_its_weights_are(
    store: Store, janroot: Path, name: str, engine: str, place: str
) -> None:
    every_model(janroot)
    model = store.models.get(ModelId(name))
    assert (model.engine, f"{model.folder}: {' '.join(model.files)}") == (engine, place)
    assert all((janroot / model.folder / name).is_file() for name in model.files)


def test_numbers_are_numbers(store: Store, janroot: Path) -> None:
    every_model(janroot)
    model = store.models.get(ModelId("zephyr-7b"))
    assert model.settings == {"ctx_len": 2048, "ngl": 100, "embedding": True, "n_parallel": 4}
    assert model.parameters == {"temperature": 0.7, "token_limit": 2048, "top_k": 0, "stream": True}
    assert model.created_ms == 1700600000000


def test_load_time_settings_are_told_from_parameters(store: Store, janroot: Path) -> None:
    every_model(janroot)
    draft = store.models.get(ModelId("llama2-70b/q8"))
    assert (draft.settings, draft.parameters) == ({"ctx_len": 4096, "ngl": 100}, {"temperature": 0.7, "stop": []})
    cortex = store.models.get(ModelId("tinyllama"))
    assert (cortex.settings["ctx_len"], cortex.settings["ngl"], cortex.version) == (2048, 23, "1")
    assert cortex.parameters == {"stop": ["</s>"], "stream": True, "top_p": 0.9, "temperature": 0.7}
    assert cortex.metadata == {"size": 668788096}


def test_a_model_is_found_by_the_id_in_its_file(store: Store, janroot: Path) -> None:
    put(janroot / "models/folder/model.json", {"id": "known-as", "format": "gguf"})
    assert store.models.get(ModelId("known-as")).id == "folder"


@pytest.mark.parametrize(
    "text",
    [
        "a: &a [x]\nmodel_path: *a\n",
        "model_path: " + "[" * 50_000,
        "model_path: !!python/object/apply:os.system [true]\n",
        "- model_path\n",
        "model_path: x\n" * 90_000,
        "",
    ],
    ids=["alias", "depth", "object", "list", "length", "empty"],
)
def test_hostile_yaml_is_no_model(store: Store, janroot: Path, text: str) -> None:
    put(janroot / "llamacpp/models/evil/model.yml", text)
    put(janroot / "llamacpp/models/good/model.yml", "model_path: x.gguf\nname: Good\n")
    assert [model.id for model in store.models.all()] == ["good"]

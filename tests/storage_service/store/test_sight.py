"""Whether a model is said to take images."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from jan.ids import ModelId
from storage_service.store.records import Model
from storage_service.store.store import Store
from tests.fixtures.jan_files import put
from tests.fixtures.tiny_models import CONFIG

EYE = CONFIG | {"architectures": ["LlavaForConditionalGeneration"], "vision_config": {"hidden_size": 32}}


def gguf(janroot: Path, *names: str, **settings: Any) -> None:
    """A model in a folder with these files; without a model.json where there are no settings."""
    for name in names:
        put(janroot / "models/m" / name, b"GGUF")
    if settings:
        put(janroot / "models/m/model.json", {"id": "m", "engine": "llamacpp", "settings": settings})


def model(store: Store) -> Model:
    return store.models.get(ModelId("m"))


@pytest.mark.parametrize(
    ("names", "settings", "files"),
    [
        (("a.gguf",), {}, ("a.gguf",)),
        (("a.gguf", "mmproj-a-Q8_0.gguf", "mmproj-a-f16.gguf"), {}, ("a.gguf", "mmproj-a-f16.gguf")),
        (("a.gguf", "mmproj.gguf"), {"llama_model_path": "a.gguf"}, ("a.gguf", "mmproj.gguf")),
        (("a.gguf", "mmproj.gguf"), {"ctx_len": 512}, ("a.gguf", "mmproj.gguf")),
        (("a.gguf", "eye.gguf"), {"llama_model_path": "a.gguf", "mmproj": "eye.gguf"}, ("a.gguf", "eye.gguf")),
        (("a.gguf", "b.gguf", "mmproj.gguf"), {"llama_model_path": "a.gguf"}, ("a.gguf",)),
        (("a.gguf", "mmproj.gguf"), {"vision_model": False, "llama_model_path": "a.gguf"}, ("a.gguf",)),
    ],
)
def test_a_gguf_model_sees_with_the_projector_in_its_folder(
    store: Store, janroot: Path, names: tuple[str, ...], settings: dict[str, Any], files: tuple[str, ...]
) -> None:
    gguf(janroot, *names, **settings)
    assert (model(store).files, model(store).sees) == (files, len(files) > 1)
    assert [listed.sees for listed in store.models.all() if listed.id == "m"] == [len(files) > 1]


@pytest.mark.parametrize(("config", "settings", "sees"), [(CONFIG, {}, False), (EYE, {}, True)])
def test_a_safetensors_model_sees_when_its_configuration_says_so(
    store: Store, janroot: Path, config: dict[str, Any], settings: dict[str, Any], sees: bool
) -> None:
    put(janroot / "models/m/config.json", config)
    put(janroot / "models/m/model.safetensors", b"x")
    assert (model(store).engine, model(store).sees) == ("vllm", sees)
    described = {"id": "m", "engine": "vllm", "format": "safetensors", "settings": {"vision_model": False}}
    put(janroot / "models/m/model.json", described)
    assert not model(store).sees


@pytest.mark.parametrize("config", [b"", b"[]", b"{" * 100_000, b'{"auto_map": {"a": "b"}, "vision_config": {"a": 1}}'])
def test_a_configuration_that_cannot_be_read_says_no(store: Store, janroot: Path, config: bytes) -> None:
    put(janroot / "models/m/model.safetensors", b"x")
    put(janroot / "models/m/config.json", config)
    assert not model(store).sees


def test_a_pipe_in_the_place_of_the_configuration_is_not_waited_for(store: Store, janroot: Path) -> None:
    put(janroot / "models/m/model.safetensors", b"x")
    put(janroot / "models/m/model.json", {"id": "m", "engine": "vllm", "format": "safetensors"})
    os.mkfifo(janroot / "models/m/config.json")
    assert not model(store).sees


def test_a_remote_model_sees_when_its_settings_say_so(store: Store, janroot: Path) -> None:
    described = {"id": "m", "engine": "openai", "format": "api", "sources": [{"url": "http://h/v1"}]}
    put(janroot / "models/m/model.json", described)
    assert not model(store).sees
    put(janroot / "models/m/model.json", json.loads(json.dumps(described)) | {"settings": {"vision_model": True}})
    assert model(store).sees

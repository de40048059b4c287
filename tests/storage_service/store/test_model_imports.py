"""Weights of this machine become models: only from where it is allowed, only what is one, whole or not at all."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from jan.errors import (
    ConflictError,
    FailedPreconditionError,
    InvalidArgumentError,
    JanError,
    NotFoundError,
    PermissionDeniedError,
    StorageFullError,
)
from jan.ids import ModelId
from storage_service.store.model_imports.imports import Wanted
from storage_service.store.records import BaseModel, Model
from storage_service.store.store import Store
from tests.fixtures import jan_models
from tests.fixtures.eyes import mmproj
from tests.fixtures.gguf_files import Matrix, gguf, lora, lora_gguf, pair, text
from tests.fixtures.storage import limited_files
from tests.fixtures.tiny_models import lora_folder, safetensors_folder, tiny_gguf, tiny_safetensors
from tests.storage_service.store.crashes import Crash, crash_points
from tests.storage_service.store.test_model_changes import files, listed


@pytest.fixture
def disk(store: Store, tmp_path: Path) -> Path:
    """A folder that may be imported from."""
    disk = tmp_path / "disk"
    disk.mkdir()
    store.model_imports.allow([disk])
    return disk


def take_in(store: Store, path: object, model_id: str = "", **wanted: Any) -> Model:
    """Import as the servicer does."""
    asked = Wanted(str(path), ModelId(model_id) if model_id else None, **wanted)
    arriving = store.model_imports.new()
    pieces = arriving.copy()
    try:
        arriving.stage(asked, store.model_imports.paths)
        for _ in pieces if asked.copy else ():
            pass
        return arriving.publish(asked)
    finally:
        pieces.close()
        arriving.discard()


def described(janroot: Path, model_id: str) -> dict[str, Any]:
    file: dict[str, Any] = json.loads((janroot / "models" / model_id / "model.json").read_text())
    return file


def put(path: Path, data: bytes = b"") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data or tiny_gguf())
    return path


def test_a_gguf_is_linked_and_described_as_jan_did(store: Store, janroot: Path, disk: Path) -> None:
    weights = put(disk / "My Model (Q4).gguf")
    model = take_in(store, weights, name="Mine")
    assert (model.id, model.engine, model.format, model.files) == (
        *("My-Model-Q4", "llamacpp", "gguf"),
        ("My-Model-Q4.gguf",),
    )
    assert model.size_bytes == weights.stat().st_size
    link = janroot / "models/My-Model-Q4/My-Model-Q4.gguf"
    assert link.readlink() == weights
    file = described(janroot, "My-Model-Q4")
    assert file.pop("created") == model.created_ms
    assert file == {
        "sources": [{"filename": "My-Model-Q4.gguf", "url": "N/A"}],
        "id": "My-Model-Q4",
        "object": "model",
        "name": "Mine",
        "version": "1.0",
        "description": "User self import model",
        "format": "gguf",
        "settings": {"ctx_len": 2048, "llama_model_path": "My-Model-Q4.gguf"},
        "parameters": {},
        "metadata": {"author": "User", "tags": [], "size": model.size_bytes},
        "engine": "llamacpp",
    }


def test_a_copy_is_one(store: Store, janroot: Path, disk: Path) -> None:
    weights = put(disk / "m.gguf")
    take_in(store, weights, "vendor/mine", copy=True)
    weights.unlink()
    copy = janroot / "models/vendor/mine/m.gguf"
    assert (copy.is_symlink(), copy.read_bytes()) == (False, tiny_gguf())


def test_all_parts_of_a_model_come_along_in_their_order(store: Store, disk: Path) -> None:
    for number in (1, 2, 3):
        put(disk / f"big-0000{number}-of-00003.gguf")
    model = take_in(store, disk / "big-00002-of-00003.gguf")
    assert (model.id, model.files) == ("big", tuple(f"big-0000{number}-of-00003.gguf" for number in (1, 2, 3)))
    (disk / "big-00003-of-00003.gguf").unlink()
    with pytest.raises(FailedPreconditionError, match=r"big-00003-of-00003\.gguf is missing"):
        take_in(store, disk / "big-00001-of-00003.gguf", "again")


def test_a_folder_of_one_gguf_is_that_model_and_of_several_is_asked_about(store: Store, disk: Path) -> None:
    put(disk / "folder/one.gguf")
    put(disk / "folder/mmproj-one.gguf", mmproj(width=64))
    made = take_in(store, disk / "folder")
    assert (made.id, made.files, made.sees) == ("one", ("one.gguf", "mmproj-one.gguf"), True)
    put(disk / "folder/two.gguf")
    with pytest.raises(FailedPreconditionError, match=r"several models; name one of its files: one\.gguf, two\.gguf"):
        take_in(store, disk / "folder", "x")


def test_a_folder_of_safetensors_leaves_programs_where_they_are(store: Store, janroot: Path, disk: Path) -> None:
    folder = safetensors_folder(disk / "Tiny")
    for name in ("modeling_tiny.py", "pytorch_model.bin", "onnx/model.onnx", "README.md", ".git/HEAD"):
        put(folder / name, b"x")
    put(folder / "1_Pooling/config.json", b"{}")
    arriving = store.model_imports.new()
    arriving.stage(Wanted(str(folder)), store.model_imports.paths)
    assert arriving.selection.left_out == (".git", "README.md", "modeling_tiny.py", "onnx", "pytorch_model.bin")
    model = arriving.publish(Wanted(str(folder)))
    assert (model.id, model.engine, model.format) == ("Tiny", "vllm", "safetensors")
    assert model.size_bytes == len(tiny_safetensors())
    names = {str(path.relative_to(janroot / "models/Tiny")) for path in (janroot / "models/Tiny").rglob("*")}
    assert names == {
        *("model.json", "config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"),
        *("1_Pooling", "1_Pooling/config.json"),
    }


def test_links_of_a_cache_are_followed_to_the_files_themselves(store: Store, janroot: Path, disk: Path) -> None:
    blob = put(disk / "cache/blobs/0123abc")
    snapshot = disk / "cache/snapshots/main/demo.gguf"
    snapshot.parent.mkdir(parents=True)
    snapshot.symlink_to("../../blobs/0123abc")
    take_in(store, snapshot)
    assert (janroot / "models/demo/demo.gguf").readlink() == blob


def test_an_adapter_needs_its_base(store: Store, janroot: Path, disk: Path) -> None:
    folder = lora_folder(disk / "lora")
    for base, error in (("", InvalidArgumentError), ("nobody", NotFoundError), ("../x", InvalidArgumentError)):
        with pytest.raises(error):
            take_in(store, folder, base_model=base)
    jan_models.gen4_model(janroot, "other")
    with pytest.raises(InvalidArgumentError, match="a whole model in safetensors, and 'other' is of the format 'gguf'"):
        take_in(store, folder, base_model="other")
    take_in(store, safetensors_folder(disk / "base"))
    model = take_in(store, folder, base_model="base")
    assert (model.settings, model.engine) == ({"base_model": "base"}, "vllm")
    assert model.base is not None
    assert (model.base.id, model.base.folder) == ("base", "models/base")
    with pytest.raises(InvalidArgumentError, match="'lora' is a LoRA adapter itself"):
        take_in(store, folder, "again", base_model="lora")
    assert store.report(100).findings == ()  # the links of an import are as they should be
    with pytest.raises(InvalidArgumentError, match="Only LoRA adapters"):
        take_in(store, put(disk / "m.gguf"), base_model="base")


@pytest.mark.parametrize("copy", [False, True])
def test_a_gguf_adapter_must_fit_its_base(store: Store, janroot: Path, disk: Path, *, copy: bool) -> None:
    query = "blk.0.attn_q.weight"
    about = pair("general.architecture", 8, text("llama")) + pair("llama.context_length", 4, bytes([0, 1, 0, 0]))
    take_in(store, put(disk / "base.gguf", gguf(about, 2, {query: Matrix((8, 4), bytes(128))})))
    put(disk / "lora.gguf", lora_gguf(lora(query, 8, 4, strength=1)))
    put(disk / "wrong.gguf", lora_gguf(lora(query, 8, 5, strength=1)))
    with pytest.raises(InvalidArgumentError, match="say in 'base_model'"):
        take_in(store, disk / "lora.gguf")
    with pytest.raises(FailedPreconditionError, match=r"wrong\.gguf is no LoRA adapter for base\.gguf"):
        take_in(store, disk / "wrong.gguf", base_model="base")
    model = take_in(store, disk / "lora.gguf", base_model="base", copy=copy)
    assert model.settings == {"base_model": "base", "ctx_len": 256, "llama_model_path": "lora.gguf"}
    assert (model.engine, model.format, model.files) == ("llamacpp", "gguf", ("lora.gguf",))
    assert model.base == BaseModel(ModelId("base"), "llamacpp", ("base.gguf",), "models/base")
    assert [one.base for one in store.models.all()] == [None, model.base]
    with pytest.raises(ConflictError, match="the base of lora"):
        store.model_changes.delete(ModelId("base"))
    with pytest.raises(InvalidArgumentError, match="'lora' is a LoRA adapter itself"):
        take_in(store, disk / "lora.gguf", "again", base_model="lora")


def test_a_gguf_adapter_may_come_before_the_weights_of_its_base(store: Store, janroot: Path, disk: Path) -> None:
    jan_models.gen4_model(janroot, "base")
    (janroot / "models/base/base.gguf").unlink()
    put(disk / "lora.gguf", lora_gguf(lora("blk.0.attn_q.weight", 8, 4, strength=1)))
    assert take_in(store, disk / "lora.gguf", base_model="base").settings["base_model"] == "base"


def lying(folder: Path) -> Path:
    return put(folder / "m.gguf", tiny_gguf()[:40])


def huge_header(folder: Path) -> Path:
    put(safetensors_folder(folder / "m") / "model.safetensors", struct.pack("<Q", 2**62) + b"{}")
    return folder / "m"


def wants_code(folder: Path) -> Path:
    put(safetensors_folder(folder / "m") / "config.json", b'{"auto_map": {"AutoModel": "modeling.X"}}')
    return folder / "m"


def without_tokenizer(folder: Path) -> Path:
    (safetensors_folder(folder / "m") / "tokenizer.json").unlink()
    return folder / "m"


def only_pickles(folder: Path) -> Path:
    return put(folder / "m/pytorch_model.bin", b"\x80\x04").parent


def pipe(folder: Path) -> Path:
    os.mkfifo(folder / "m.gguf")
    return folder / "m.gguf"


def pipe_among_safetensors(folder: Path) -> Path:
    os.mkfifo(safetensors_folder(folder / "m") / "added_tokens.json")
    return folder / "m"


def folder_with_the_name_of_a_file(folder: Path) -> Path:
    (safetensors_folder(folder / "m") / "more.safetensors").mkdir()
    return folder / "m"


def other_kind(folder: Path) -> Path:
    return put(folder / "m.exe")


def one_of_safetensors(folder: Path) -> Path:
    return safetensors_folder(folder / "m") / "model.safetensors"


def empty(folder: Path) -> Path:
    (folder / "m").mkdir()
    return folder / "m"


@pytest.mark.parametrize(
    "make",
    [
        *(lying, huge_header, wants_code, without_tokenizer, only_pickles, pipe, pipe_among_safetensors),
        *(folder_with_the_name_of_a_file, other_kind, one_of_safetensors, empty),
    ],
)
@pytest.mark.parametrize("copy", [False, True])
def test_what_makes_no_model_is_refused_and_leaves_nothing(
    store: Store, janroot: Path, disk: Path, make: Callable[[Path], Path], *, copy: bool
) -> None:
    path = make(disk)
    with pytest.raises(FailedPreconditionError) as refused:
        take_in(store, path, "m", copy=copy)
    assert refused.value.code == "model_file_invalid"
    assert listed(store) == []
    assert list((janroot / "models").iterdir()) == list((janroot / ".server/staging").iterdir()) == []


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "/nowhere/at/all",
        "{disk}_evil/m.gguf",
        "{disk}/../secret.gguf",
        "{disk}/out.gguf",
        "{disk}/out/m.gguf",
    ],
)
def test_nothing_is_learnt_of_paths_elsewhere(store: Store, disk: Path, tmp_path: Path, path: str) -> None:
    for outside in (tmp_path / "disk_evil/m.gguf", tmp_path / "secret.gguf"):
        put(outside)
    (disk / "out.gguf").symlink_to(tmp_path / "secret.gguf")
    (disk / "out").symlink_to(tmp_path / "disk_evil")
    with pytest.raises(PermissionDeniedError) as refused:
        take_in(store, path.format(disk=disk), "m")
    assert (refused.value.code, refused.value.message) == (
        "path_not_allowed",
        "This path is not below a folder that JANROOT_IMPORT_PATHS allows, or a link leads out of it.",
    )


def test_a_link_in_a_folder_may_not_lead_out_either(store: Store, disk: Path, tmp_path: Path) -> None:
    folder = safetensors_folder(disk / "m")
    (folder / "secret.json").symlink_to("/etc/passwd")
    with pytest.raises(PermissionDeniedError):
        take_in(store, folder)
    (folder / "secret.json").unlink()
    (folder / "1_Pooling").symlink_to(tmp_path)
    with pytest.raises(PermissionDeniedError):
        take_in(store, folder)
    assert listed(store) == []


def test_the_janroot_itself_is_not_imported_from(store: Store, janroot: Path) -> None:
    store.model_imports.allow([janroot.parent])
    with pytest.raises(PermissionDeniedError):
        take_in(store, put(janroot / "files/m.gguf"))


def test_it_is_off_until_somebody_allows_it(store: Store, tmp_path: Path) -> None:
    with pytest.raises(PermissionDeniedError) as refused:
        take_in(store, put(tmp_path / "m.gguf"))
    assert refused.value.code == "imports_off"


@pytest.mark.parametrize("path", ["", "m.gguf", "~/m.gguf", "{disk}/a\0b", "/" + "x/" * 4_000])
def test_only_absolute_paths_are_paths(store: Store, disk: Path, path: str) -> None:
    with pytest.raises(InvalidArgumentError):
        take_in(store, path.format(disk=disk))


def test_what_is_not_there_is_told_below_an_allowed_folder(store: Store, disk: Path) -> None:
    with pytest.raises(NotFoundError):
        take_in(store, disk / "none.gguf")


@pytest.mark.parametrize("model_id", ["taken", "taken/inside", "vendor", "elsewhere"])
def test_nobodys_model_is_replaced_or_hidden(store: Store, janroot: Path, disk: Path, model_id: str) -> None:
    jan_models.gen4_model(janroot, "taken")
    jan_models.gen4_model(janroot, "vendor/name")
    put(janroot / "llamacpp/models/elsewhere/model.yml", b"model_path: llamacpp/models/elsewhere/m.gguf\n")
    before = files(janroot)
    with pytest.raises(ConflictError) as refused:
        take_in(store, put(disk / "m.gguf"), model_id)
    assert refused.value.code == "model_exists"
    assert files(janroot) == before


def test_a_link_on_the_way_is_not_followed(store: Store, janroot: Path, disk: Path, tmp_path: Path) -> None:
    (janroot / "models/vendor").symlink_to(tmp_path)
    with pytest.raises(InvalidArgumentError):
        take_in(store, put(disk / "m.gguf"), "vendor/m")


def test_without_room_nothing_is_copied(
    store: Store, janroot: Path, disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = put(disk / "m.gguf")
    with limited_files(100), pytest.raises(StorageFullError):
        take_in(store, weights, copy=True)
    monkeypatch.setattr("shutil.disk_usage", lambda _: Mock(free=0))
    with pytest.raises(StorageFullError, match="import by link or make room"):
        take_in(store, weights, copy=True)
    assert list((janroot / ".server/staging").iterdir()) == []
    assert take_in(store, weights).id == "m"


@pytest.mark.parametrize("copy", [False, True])
def test_it_is_whole_or_absent_whenever_the_process_dies(
    store: Store, janroot: Path, disk: Path, *, copy: bool
) -> None:
    weights = put(disk / "m.gguf")
    store.close()
    for crash in crash_points():
        died = Store.open(janroot, import_paths=[disk])
        try:
            with crash:
                take_in(died, weights, copy=copy)
        except (Crash, JanError):
            pass
        died.close()
        reopened = Store.open(janroot, import_paths=[disk])
        assert list((janroot / ".server/staging").iterdir()) == []
        for model in reopened.models.all():
            assert (model.id, model.size_bytes) == ("m", len(tiny_gguf()))
            reopened.model_changes.delete(model.id)
        reopened.close()

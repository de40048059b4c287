from __future__ import annotations

import json
import os
import struct
from pathlib import Path
from typing import Any

import pytest

from jan.errors import FailedPreconditionError, NotFoundError
from jan.formats.hf_folder import read_hf_folder, read_lora_folder

CONFIG = {
    "max_position_embeddings": 8192,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "hidden_size": 576,
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    (tmp_path / "tokenizer_config.json").write_text('{"chat_template": "{{ tools }}"}')
    (tmp_path / "tokenizer.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(struct.pack("<Q", 2) + b"{}")
    return tmp_path


def test_it_tells_what_flags_need(folder: Path) -> None:
    model = read_hf_folder(folder, "m")
    assert (model.description.context_tokens, model.description.kv_elements) == (8192, 2 * 30 * 3 * 64)
    assert model.template == "{{ tools }}"


def test_a_template_of_its_own_file_counts_more(folder: Path) -> None:
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    assert read_hf_folder(folder, "m").template == "{{ messages }}"


@pytest.mark.parametrize(
    "name",
    ["modeling_x.py", "pytorch_model.bin", "x.PT", "a/b/c.pkl", "2_Dense/pytorch_model.bin", "x.ckpt", "optimizer.pth"],
)
def test_what_can_hold_a_program_is_refused(folder: Path, name: str) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(b"")
    with pytest.raises(FailedPreconditionError, match="can hold a program") as caught:
        read_hf_folder(folder, "m")
    assert caught.value.code == "model_file_invalid"


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json", "preprocessor_config.json", "1/config.json"])
@pytest.mark.parametrize("nested", [False, True])
def test_code_of_its_own_is_refused(folder: Path, name: str, nested: bool) -> None:
    asks: dict[str, Any] = {"auto_map": {"AutoModel": "modeling_x.Model"}}
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text(json.dumps({**CONFIG, "vision_config": asks} if nested else {**CONFIG, **asks}))
    with pytest.raises(FailedPreconditionError, match="never done"):
        read_hf_folder(folder, "m")


@pytest.mark.parametrize(
    "config",
    [b"[]", b"{", b"\xff", b'{"a":' * 100_000, b'{"hidden_size": 1e308}' + b" " * 5_000_000],
    ids=["list", "half", "bytes", "deep", "large"],
)
def test_a_configuration_that_is_none_is_refused(folder: Path, config: bytes) -> None:
    (folder / "config.json").write_bytes(config)
    with pytest.raises(FailedPreconditionError):
        read_hf_folder(folder, "m")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_what_is_missing_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(NotFoundError, match=r"of model m is missing\.$") as caught:
        read_hf_folder(folder, "m")
    assert caught.value.code == "model_file_missing"


def test_a_folder_of_downloads_may_be_inside(folder: Path) -> None:
    (folder / ".cache/huggingface").mkdir(parents=True)
    (folder / ".cache/huggingface/x.py").write_text("")
    assert read_hf_folder(folder, "m").folder == folder


def test_an_adapter_tells_its_rank(tmp_path: Path) -> None:
    (tmp_path / "adapter_model.safetensors").write_bytes(b"")
    (tmp_path / "adapter_config.json").write_text('{"r": 16}')
    assert read_lora_folder(tmp_path, "m") == 16


@pytest.mark.parametrize("config", ['{"r": 0}', '{"r": "8"}', "{}", '{"r": 8, "auto_map": {"a": "b"}}'])
def test_an_adapter_that_is_none_is_refused(tmp_path: Path, config: str) -> None:
    (tmp_path / "adapter_model.safetensors").write_bytes(b"")
    (tmp_path / "adapter_config.json").write_text(config)
    with pytest.raises(FailedPreconditionError):
        read_lora_folder(tmp_path, "m")


def test_an_adapter_that_was_pickled_is_refused(tmp_path: Path) -> None:
    (tmp_path / "adapter_model.safetensors").write_bytes(b"")
    (tmp_path / "adapter_model.bin").write_bytes(b"")
    (tmp_path / "adapter_config.json").write_text('{"r": 16}')
    with pytest.raises(FailedPreconditionError, match="can hold a program"):
        read_lora_folder(tmp_path, "m")


@pytest.mark.parametrize("data", [b"", b"\xff" * 8, struct.pack("<Q", 2**62) + b"{}", struct.pack("<Q", 2) + b"{}x"])
def test_a_lying_header_is_refused(folder: Path, data: bytes) -> None:
    (folder / "model.safetensors").write_bytes(data)
    with pytest.raises(FailedPreconditionError, match="not a usable model"):
        read_hf_folder(folder, "m")


def test_code_hidden_deeply_is_refused_too(folder: Path) -> None:
    for depth, reason in ((20, "auto_map"), (100, "nests deeper")):
        asks: dict[str, Any] = {"auto_map": {"AutoModel": "modeling_x.Model"}}
        for _ in range(depth):
            asks = {"inner": [asks]} if depth == 100 else {"inner": asks}
        (folder / "config.json").write_text(json.dumps({**CONFIG, **asks}))
        with pytest.raises(FailedPreconditionError, match=reason):
            read_hf_folder(folder, "m")


def test_a_link_to_a_folder_is_refused(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "modeling_x.py").touch()
    (folder / "1_Pooling").symlink_to(elsewhere)
    with pytest.raises(FailedPreconditionError, match="link to a folder"):
        read_hf_folder(folder, "m")


@pytest.mark.parametrize("odd", [b"a\nb.json", b"\x1b[2J.safetensors", b"\xff.txt"], ids=repr)
def test_a_name_that_cannot_be_told_is_refused_in_one_line(folder: Path, odd: bytes) -> None:
    (folder / os.fsdecode(odd)).touch()
    with pytest.raises(FailedPreconditionError, match="control characters in its name") as caught:
        read_hf_folder(folder, "m")
    assert caught.value.message.isprintable()


def test_a_folder_that_is_a_loop_of_links_is_missing(tmp_path: Path) -> None:
    (tmp_path / "m").symlink_to("m")
    with pytest.raises(NotFoundError, match="folder of model m is missing"):
        read_hf_folder(tmp_path / "m", "m")


def test_a_loop_of_links_and_a_link_to_nowhere_are_no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").symlink_to("model.safetensors")
    with pytest.raises(FailedPreconditionError, match="cannot be read"):
        read_hf_folder(folder, "m")


@pytest.mark.parametrize(
    "named", ["../model.safetensors", "/etc/passwd", "missing.safetensors", "tokenizer.json", "a\nb", 5, None]
)
def test_an_index_names_weights_beside_it_only(folder: Path, named: object) -> None:
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"w": "model.safetensors"}}))
    read_hf_folder(folder, "m")
    index.write_text(json.dumps({"weight_map": {"w": named}}))
    with pytest.raises(FailedPreconditionError, match="no file of weights beside it"):
        read_hf_folder(folder, "m")


def test_an_index_without_a_map_is_refused(folder: Path) -> None:
    (folder / "model.safetensors.index.json").write_text('{"weight_map": ["model.safetensors"]}')
    with pytest.raises(FailedPreconditionError, match="no file of weights beside it"):
        read_hf_folder(folder, "m")

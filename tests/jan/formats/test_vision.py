"""Which models see images, as far as names, settings and configurations tell."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest

from jan.errors import FailedPreconditionError
from jan.formats.gguf import read_gguf
from jan.formats.gguf_projector import vision_bytes_of
from jan.formats.vision import best_projector, has_eyes, lone_projector, projector_among
from jan.formats.weights import describe_gguf_files
from tests.fixtures.eyes import mmproj
from tests.fixtures.gguf_files import gguf, pair, text
from tests.fixtures.tiny_models import tiny_gguf

EYE = {"vision_config": {"hidden_size": 32}}


@pytest.mark.parametrize(
    ("names", "best"),
    [
        (["model.gguf"], ""),
        (["m.gguf", "mmproj-m-Q8_0.gguf", "mmproj-m-f16.gguf", "mmproj-m-F32.gguf"], "mmproj-m-f16.gguf"),
        (["mmproj-BF16.gguf", "mmproj-m-f32.gguf"], "mmproj-BF16.gguf"),
        (["b-mmproj.gguf", "a.mmproj.gguf", "mmproj.txt"], "a.mmproj.gguf"),
    ],
)
def test_of_several_projectors_the_best_is_taken(names: list[str], best: str) -> None:
    assert best_projector(names) == best


def test_a_projector_beside_one_model_is_its_own() -> None:
    assert lone_projector(["m-00001-of-00002.gguf", "m-00002-of-00002.gguf", "mmproj.gguf"]) == "mmproj.gguf"
    assert lone_projector(["a.gguf", "b.gguf", "mmproj.gguf"]) == ""
    assert lone_projector(["mmproj.gguf"]) == ""


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        ({}, "mmproj-f16.gguf"),
        ({"mmproj": "eye.gguf"}, "eye.gguf"),
        ({"mmproj": "C:\\models\\eye.gguf"}, "eye.gguf"),
        ({"mmproj": "gone.gguf"}, "mmproj-f16.gguf"),
        ({"vision_model": True}, "mmproj-f16.gguf"),
        ({"vision_model": False, "mmproj": "eye.gguf"}, ""),
        ({"vision_model": "false"}, ""),
        ({"vision_model": None}, "mmproj-f16.gguf"),
    ],
)
def test_the_settings_name_the_projector_or_want_none(settings: dict[str, Any], found: str) -> None:
    assert projector_among(["m.gguf", "eye.gguf", "mmproj-f16.gguf"], settings) == found


@pytest.mark.parametrize(
    ("config", "sees"),
    [
        ({"architectures": ["LlavaForConditionalGeneration"], **EYE}, True),
        ({"architectures": ["Idefics3ForConditionalGeneration"], **EYE}, True),
        ({"architectures": ["Qwen2VLForConditionalGeneration"], **EYE}, True),
        ({"architectures": ["InternVLChatModel"], **EYE}, True),
        ({"architectures": ["QWenLMHeadModel"], "visual": {"width": 1}}, True),
        ({"architectures": ["Phi3VForCausalLM"], "img_processor": {"name": "clip"}}, True),
        ({"architectures": ["Qwen2_5OmniModel"], "thinker_config": EYE}, True),
        ({"architectures": ["LlamaForCausalLM"]}, False),
        ({"architectures": ["LlamaForCausalLM"], "vision_config": None}, False),
        ({"architectures": ["LlamaForCausalLM"], "vision_config": {}}, False),
        ({"architectures": ["CLIPModel"], **EYE}, False),
        ({"architectures": ["Siglip2Model"], **EYE}, False),
        ({"architectures": "x", "vision_config": "x", "thinker_config": 1}, False),
        ({}, False),
    ],
)
def test_a_configuration_with_an_eye_sees(config: dict[str, Any], sees: bool) -> None:
    assert has_eyes(config) is sees


def test_a_projector_counts_with_the_weights_and_for_what_it_computes(tmp_path: Path) -> None:
    model, projector = tmp_path / "m.gguf", tmp_path / "mmproj.gguf"
    model.write_bytes(tiny_gguf())
    projector.write_bytes(mmproj(width=64))
    blind, seeing = describe_gguf_files([model]), describe_gguf_files([model], projector=projector)
    assert (blind.sees, blind.vision_bytes, seeing.sees) == (False, 0, True)
    assert seeing.weights_bytes - blind.weights_bytes > 32 * 64 * 4
    assert seeing.vision_bytes == 4 * (16 * (16 * 32 + 4 * 32) + 3 * 32 * 32)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (tiny_gguf(), "a whole model and no projector"),
        (gguf(pair("general.architecture", 8, text("clip")), 1, {}), "sees no images"),
        (b"GGUF", "cut off"),
        (mmproj()[:-100], "cut off"),
    ],
)
def test_what_is_no_projector_is_refused_with_the_reason(tmp_path: Path, data: bytes, reason: str) -> None:
    model, projector = tmp_path / "m.gguf", tmp_path / "mmproj.gguf"
    model.write_bytes(tiny_gguf())
    projector.write_bytes(data)
    with pytest.raises(FailedPreconditionError, match=reason) as caught:
        describe_gguf_files([model], projector=projector)
    assert caught.value.code == "model_file_invalid"
    assert caught.value.message.startswith("mmproj.gguf is not a usable model")


def test_lying_lengths_of_a_projector_are_refused(tmp_path: Path) -> None:
    data = mmproj()
    place = data.index(b"clip.vision.image_size") + len(b"clip.vision.image_size") + 4
    lying = data[:place] + (2**31).to_bytes(4, "little") + data[place + 4 :]
    model, projector = tmp_path / "m.gguf", tmp_path / "mmproj.gguf"
    model.write_bytes(tiny_gguf())
    projector.write_bytes(lying)
    with pytest.raises(FailedPreconditionError, match="that no projector has"):
        describe_gguf_files([model], projector=projector)
    header = read_gguf(io.BytesIO(data), len(data))
    assert vision_bytes_of(header) > 0

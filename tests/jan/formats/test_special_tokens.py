from __future__ import annotations

import io
import json
import struct
from pathlib import Path

import pytest

from jan.formats import gguf_texts, hf_tokens
from jan.formats.description import LyingHeaderError
from jan.formats.gguf import read_gguf


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def gguf(tokens: dict[str, int], **pairs: int | str) -> io.BytesIO:
    """A file without tensors that has this vocabulary (token by type), and further numbers and texts."""
    parts = [
        text("tokenizer.ggml.tokens") + struct.pack("<IIQ", 9, 8, len(tokens)) + b"".join(map(text, tokens)),
        text("tokenizer.ggml.token_type") + struct.pack(f"<IIQ{len(tokens)}i", 9, 5, len(tokens), *tokens.values()),
    ]
    for key, value in pairs.items():
        key_bytes = text(key.replace("__", "."))
        parts.append(
            key_bytes + (struct.pack("<I", 8) + text(value) if isinstance(value, str) else struct.pack("<II", 4, value))
        )
    return io.BytesIO(struct.pack("<4sIQQ", b"GGUF", 3, 0, len(parts)) + b"".join(parts) + bytes(64))


def special(file: io.BytesIO, *templates: str) -> list[str]:
    return gguf_texts.special_tokens(file, read_gguf(file, len(file.getvalue())), templates)


def test_the_demo_model_has_its_turn_marks(demo_gguf: Path) -> None:
    with demo_gguf.open("rb") as file:
        header = read_gguf(file, demo_gguf.stat().st_size)
        found = gguf_texts.special_tokens(file, header, ())
        assert {"<|im_start|>", "<|im_end|>", "<|endoftext|>"} <= set(found)
        assert len(found) == 17
        (template,) = gguf_texts.chat_templates(file, header).values()
        assert "<|im_start|>" in template


def test_turn_marks_are_known_by_type_by_role_and_by_looks() -> None:
    normal, control, own = 1, 3, 4
    tokens = {
        "<unk>": 2,
        "[INST]": control,
        "<eot>": normal,
        "<|a|>": normal,
        "<\uff5cUser\uff5c>": own,
        "<|turn>": own,
    }
    others = {"<think>": own, "|>": own, "<|": own, "   ": own, "<table>": normal, "hello": normal, "<0x0A>": 6}
    assert special(gguf({**others, **tokens}, tokenizer__ggml__eot_token_id=len(others) + 2)) == list(tokens)


GEMMA = """{{ bos_token }}{% for m in messages %}
  {%- if m.role == 'assistant' %}{% set role = "model" %}{% endif %}
  {{ '<start_of_turn>' + role + '\n\n' + m.content.split('</think>')[-1] + "<end_of_turn>\n" }}
{% endfor %}"""
MARKS = ["<start_of_turn>", "<end_of_turn>"]
ORDINARY = [
    "<think>",
    "</think>",
    "<table>",
    "[INST]",
    "  ",
    "\n",
    "\n\n",
    "\u2581\u2581",
    "{%",
    "==",
    "role",
    "model\n",
    "m",
]


def test_marks_that_only_the_chat_template_tells_are_known() -> None:
    own = dict.fromkeys([*MARKS, *ORDINARY], 4)
    assert special(gguf(own), GEMMA) == MARKS
    assert special(gguf(own), "no {{ turns }}", "{{ '[INST] ' + messages[0].content }}") == ["[INST]"]
    assert special(gguf(own)) == []
    assert special(gguf(dict.fromkeys(own, 1)), GEMMA) == []


def test_so_are_those_of_a_hugging_face_tokenizer(tmp_path: Path) -> None:
    added = [{"content": token, "special": False} for token in [MARKS[0], *ORDINARY]]
    (tmp_path / "tokenizer.json").write_text(json.dumps({"added_tokens": added}))
    (tmp_path / "added_tokens.json").write_text(json.dumps({MARKS[1]: 5, "<table>": 6}))
    assert hf_tokens.special_tokens(tmp_path, [GEMMA]) == sorted(MARKS)


def test_templates_of_all_kinds_are_found() -> None:
    file = gguf({"a": 1}, tokenizer__chat_template="one", tokenizer__chat_template__tool_use="two")
    found = gguf_texts.chat_templates(file, read_gguf(file, len(file.getvalue())))
    assert list(found.values()) == ["one", "two"]


def test_a_model_without_a_vocabulary_has_none() -> None:
    assert special(gguf({})) == []


def test_all_files_of_a_tokenizer_are_heard(tmp_path: Path) -> None:
    files = {
        "tokenizer.json": {
            "added_tokens": [
                {"content": "<s>", "special": True},
                {"content": "<think>", "special": False},
                {"content": "<\uff5cUser\uff5c>", "special": False},
                {"content": 5},
                "<x>",
            ]
        },
        "tokenizer_config.json": {
            "added_tokens_decoder": {"1": {"content": "[INST]", "special": True}},
            "eos_token": {"content": "</s>"},
            "additional_special_tokens": ["<a>"],
            "extra_special_tokens": {"image_token": "<image>"},
            "add_bos_token": True,
        },
        "special_tokens_map.json": {"pad_token": "<pad>"},
        "added_tokens.json": {"<|im_end|>": 7, "word": 8},
    }
    for name, value in files.items():
        (tmp_path / name).write_text(json.dumps(value))
    expected = ["</s>", "<a>", "<image>", "<pad>", "<s>", "<|im_end|>", "<\uff5cUser\uff5c>", "[INST]"]
    assert hf_tokens.special_tokens(tmp_path, ()) == expected


@pytest.mark.parametrize("data", ["[]", "{", "[" * 5_000, "\ud800".encode("utf-8", "surrogatepass").decode("latin-1")])
def test_a_tokenizer_that_is_none_is_refused(tmp_path: Path, data: str) -> None:
    (tmp_path / "tokenizer.json").write_text(data)
    with pytest.raises(LyingHeaderError, match=r"its tokenizer\.json"):
        hf_tokens.special_tokens(tmp_path, ())

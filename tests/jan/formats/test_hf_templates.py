from __future__ import annotations

import json
from pathlib import Path

from jan.formats.hf_templates import chat_templates


def test_templates_are_found_wherever_they_are(tmp_path: Path) -> None:
    (tmp_path / "chat_template.jinja").write_text("one")
    (tmp_path / "additional_chat_templates").mkdir()
    (tmp_path / "additional_chat_templates" / "tools.jinja").write_text("two")
    named = [{"name": "default", "template": "three"}, {"name": "rag", "template": "four"}, "x", {"name": "y"}]
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": named}))
    (tmp_path / "chat_template.json").write_text(json.dumps({"chat_template": "five"}))
    (tmp_path / "processor_config.json").write_text(json.dumps({"chat_template": {"a": "six", "b": 7}}))
    (tmp_path / "broken.json").write_text("chat_template {")
    (tmp_path / "list.json").write_text('["chat_template"]')
    assert sorted(chat_templates(tmp_path).values()) == sorted(["one", "two", "three", "four", "five", "six"])


def test_a_folder_without_any_has_none(tmp_path: Path) -> None:
    assert chat_templates(tmp_path) == {}

"""What names another thing follows its new name, however JSON spells the old one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.fixtures import zips
from tests.storage_service.store.importing.conftest import Import


@pytest.mark.parametrize("is_escaped", [True, False])
@pytest.mark.parametrize("old", ["büro", "plain"])
def test_a_reference_follows_whether_its_name_is_escaped_or_not(
    janroot: Path, take_in: Import, old: str, is_escaped: bool
) -> None:
    written = "".join(f"\\u{ord(letter):04x}" for letter in old) if is_escaped else old
    line = f'{{"id":"m","role":"user","content":"x","assistant_id":"{written}"}}\n'
    thread = f'{{"title":"T","assistants":[{{"assistant_id":"{written}"}}]}}'
    take_in(zips.zip_of({"assistants/plain/assistant.json": b'{"name":"Mine"}'}))
    take_in(
        zips.zip_of(
            {
                f"assistants/{old}/assistant.json": b'{"name":"Theirs"}',
                "threads/jan_5/thread.json": thread.encode(),
                "threads/jan_5/messages.jsonl": line.encode(),
            }
        )
    )
    (new,) = {path.name for path in (janroot / "assistants").iterdir()} - {"jan", "plain"}
    home = janroot / "threads/jan_5"
    assert json.loads((home / "messages.jsonl").read_text())["assistant_id"] == new
    assert json.loads((home / "thread.json").read_text())["assistants"][0]["assistant_id"] == new

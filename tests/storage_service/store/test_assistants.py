"""Assistants as folders; there are few, the rules are the threads'."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from jan.errors import NotFoundError
from jan.ids import AssistantId
from storage_service.store.paging import PageQuery
from storage_service.store.records import Assistant
from storage_service.store.store import Store

ALL = PageQuery(limit=100, descending=False)
ADA = AssistantId("asst_ada")


def listed(store: Store) -> list[str]:
    return [assistant.id for assistant in store.assistants.page(ALL).items]


def test_a_new_assistant_is_jans_file(store: Store, janroot: Path) -> None:
    made = store.assistants.create(Assistant(ADA, name="Ada", instructions="Compute.", temperature=0.1))
    assert json.loads((janroot / "assistants" / "asst_ada" / "assistant.json").read_text()) == {
        "avatar": "",
        "id": "asst_ada",
        "object": "assistant",
        "created_at": made.created_ms,
        "name": "Ada",
        "model": "*",
        "instructions": "Compute.",
        "tools": [],
        "file_ids": [],
        "temperature": 0.1,
    }


def test_every_field_comes_back(store: Store) -> None:
    full = Assistant(
        id=ADA,
        name="Ada",
        description="Computes",
        model="demo",
        instructions="Compute.",
        tools=[{"type": "file_search"}],
        tool_resources={"file_search": {}},
        metadata={"k": "v"},
        temperature=0.5,
        top_p=0.9,
        response_format="auto",
        reasoning_effort="low",
        avatar="x",
        file_ids=("file-1",),
        parameters={"stream": True},
        further_models=("second", "third"),
        thread_location="ROOT/threads",
    )
    made = store.assistants.create(full)
    assert made == replace(full, created_ms=made.created_ms, revision=made.revision)
    assert store.assistants.get(ADA) == made
    assert store.assistants.create(replace(full, name="Other")) == made


def test_a_change_clears_and_keeps(store: Store, janroot: Path) -> None:
    path = janroot / "assistants" / "asst_ada" / "assistant.json"
    path.parent.mkdir()
    path.write_text('{"name":"Ada","description":"Old","created_at":1752200101.2,"version":"1"}')
    changed = store.assistants.change(ADA, lambda old: replace(old, description=None, instructions="New"))
    assert (changed.name, changed.description, changed.instructions) == ("Ada", None, "New")
    assert json.loads(path.read_text()) == {
        "name": "Ada",
        "created_at": 1752200101.2,
        "version": "1",
        "instructions": "New",
    }


@pytest.mark.parametrize(
    "found",
    [
        {"model": ["a", "b"]},
        {"models": ["a", "b"]},
        {"models": [{"model_id": "a"}, {"id": "b"}]},
        {"model": "a", "models": ["b", "a"]},
        {"model": "", "models": [None, "a", 7, "b"]},
    ],
)
def test_every_model_of_a_list_is_read_and_none_is_left_behind(
    store: Store, janroot: Path, found: dict[str, object]
) -> None:
    path = janroot / "assistants" / "asst_ada" / "assistant.json"
    path.parent.mkdir()
    path.write_text(json.dumps(found))
    read = store.assistants.get(ADA)
    assert (read.model, read.further_models) == ("a", ("b",))
    store.assistants.change(ADA, lambda old: replace(old, name="Ada"))
    assert json.loads(path.read_text()) == found | {"name": "Ada"}
    store.assistants.change(ADA, lambda old: replace(old, model="c", further_models=()))
    read = store.assistants.get(ADA)
    assert (read.model, read.further_models) == ("c", ())
    store.assistants.change(ADA, lambda old: replace(old, model="d", further_models=("c",)))
    read = store.assistants.get(ADA)
    assert (read.model, read.further_models) == ("d", ("c",))
    assert json.loads(path.read_text())["model"] == "d"


def test_a_deleted_assistant_is_gone_and_jan_comes_back_at_the_next_start(store: Store, janroot: Path) -> None:
    store.assistants.create(Assistant(ADA))
    assert listed(store) == ["jan", "asst_ada"]
    for assistant_id in (ADA, AssistantId("jan")):
        store.assistants.delete(assistant_id)
    assert listed(store) == []
    with pytest.raises(NotFoundError, match="No assistant found with id 'asst_ada'"):
        store.assistants.delete(ADA)
    store.close()
    reopened = Store.open(janroot)
    assert listed(reopened) == ["jan"]
    reopened.close()


def test_a_deleted_id_can_be_made_again(store: Store) -> None:
    for _ in range(3):
        store.assistants.create(Assistant(ADA))
        store.assistants.delete(ADA)
    with pytest.raises(NotFoundError):
        store.assistants.get(ADA)


def test_broken_neighbours_hide_nobody(store: Store, janroot: Path) -> None:
    for name, text in (("broken", "{"), ("list", "[]"), ("asst_ok", "{}")):
        (janroot / "assistants" / name).mkdir()
        (janroot / "assistants" / name / "assistant.json").write_text(text)
    (janroot / "assistants" / "deleted_by_jan").mkdir()
    (janroot / "assistants" / "dir" / "assistant.json").mkdir(parents=True)
    assert sorted(listed(store)) == ["asst_ok", "jan"]
    (janroot / "assistants" / "broken" / "assistant.json").write_text('{"name":"mended"}')
    assert store.assistants.get(AssistantId("broken")).name == "mended"
    assert sorted(listed(store)) == ["asst_ok", "broken", "jan"]

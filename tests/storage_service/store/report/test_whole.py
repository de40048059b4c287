"""Damage is served around, and told: what, where, what it means, what to do."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from jan.ids import AssistantId, MessageId, ThreadId
from storage_service.store.paging import PageQuery
from storage_service.store.report.findings import Finding, Kind, Severity
from storage_service.store.signature import NOTHING
from storage_service.store.store import Store
from tests.fixtures import jan_folders as jan
from tests.fixtures.jan_damage import damaged_messages, damaged_root
from tests.fixtures.jan_files import put, snapshot
from tests.fixtures.jan_models import every_model
from tests.storage_service.conftest import BLANK

PAGE = Path(__file__).parents[4] / "docs" / "doctor.md"
ALL = PageQuery(limit=100, descending=False)


def found(store: Store) -> dict[tuple[str, Kind], str]:
    return {(finding.path, finding.kind): finding.detail for finding in store.report(10_000).findings}


def test_a_fresh_janroot_has_nothing_unusual(store: Store) -> None:
    store.create_thread(AssistantId("jan"), BLANK)
    assert store.report(100).total == 0


def test_damage_hides_no_thread(store: Store, janroot: Path, tmp_path: Path) -> None:
    expected = damaged_root(janroot, tmp_path / "outside")
    assert {thread.id for thread in store.threads.page(ALL).items} == set(expected)
    for thread_id in expected:
        assert store.threads.get(ThreadId(thread_id)).id == thread_id
        store.messages.page(ThreadId(thread_id), ALL)
    assert [model.id for model in store.models.all()] == ["absolute", "demo-7b-q4", "gone", "weights-only"]
    assert {item.id for item in store.assistants.page(ALL).items} == {"jan", "other"}


def test_every_damage_of_folders_is_told(store: Store, janroot: Path, tmp_path: Path) -> None:
    damaged_root(janroot, tmp_path / "outside")
    before = snapshot(janroot)
    findings = found(store)
    expected = {
        ("threads/.DS_Store", Kind.STRAY_FILE),
        ("threads/notes.txt", Kind.STRAY_FILE),
        ("threads/stray.json", Kind.STRAY_FILE),
        ("threads/jan_1705000001/thread.json", Kind.INVALID_JSON),
        ("threads/jan_1705000002/thread.json", Kind.INVALID_JSON),
        ("threads/jan_1705000003/thread.json", Kind.INVALID_JSON),
        ("threads/jan_1705000004", Kind.NO_THREAD_FILE),
        ("threads/undefined_1712000000", Kind.UNDEFINED_ASSISTANT),
        ("threads/renamed/thread.json", Kind.ID_MISMATCH),
        ("threads/jan_1705000006/thread.json", Kind.BYTE_ORDER_MARK),
        ("threads/jan_1705000007/thread.json", Kind.MESSAGES_TWICE),
        ("threads/jan_1705000008.json", Kind.FLAT_THREAD),
        ("threads/jan_1705000008.json", Kind.INVALID_JSON),
        (f"threads/{jan.FLAT_THREAD}.json", Kind.FLAT_THREAD),
        (f"threads/{jan.V04_THREAD}.json", Kind.SHADOWED),
        ("threads/ghost", Kind.GHOST_FOLDER),
        ("threads/name with spaces", Kind.FOREIGN_NAME),
        ("threads/Work/jan_1705000009", Kind.NESTED_THREAD),
        ("threads/My old chats/2024/jan_1705000011", Kind.NESTED_THREAD),
        ("threads/My old chats/2024/jan_1705000011", Kind.NO_THREAD_FILE),
        (f"threads/Work/{jan.V04_THREAD}", Kind.HIDDEN_THREAD),
        (f"threads/{jan.V04_THREAD}/inner/jan_1705000012", Kind.HIDDEN_THREAD),
        ("threads/linked", Kind.LINK),
        ("threads/jan_1705000010/thread.json", Kind.LINK),
        ("models/broken/model.json", Kind.INVALID_DESCRIPTION),
        ("models/yaml/model.yml", Kind.INVALID_DESCRIPTION),
        ("models/weights-only/lonely.gguf", Kind.DROPPED_WEIGHTS),
        ("models/gone/model.json", Kind.ID_MISMATCH),
        ("models/gone/model.json", Kind.MISSING_FILE),
        ("models/absolute/model.json", Kind.PATH_OUTSIDE),
        ("models/absolute/model.json", Kind.MISSING_FILE),
        ("models/linked", Kind.LINK),
        ("assistants/broken/assistant.json", Kind.INVALID_DESCRIPTION),
        ("assistants/deleted", Kind.GHOST_FOLDER),
        ("assistants/other/assistant.json", Kind.ID_MISMATCH),
        ("assistants/readme.txt", Kind.STRAY_FILE),
        ("engines/openai.json", Kind.SECRET),
    }
    damaged = "threads/jan_1705000000/messages.jsonl"
    assert {key for key in findings if key[0] != damaged} == expected
    assert not any(jan.SECRET in detail for detail in findings.values())
    assert snapshot(janroot) == before


def test_every_damage_of_messages_is_told_by_line(store: Store, janroot: Path) -> None:
    expected = damaged_messages(janroot)
    thread_id = ThreadId("jan_1705000000")
    read = [message.id for message in store.messages.page(thread_id, ALL).items]
    assert read[:-1] == expected[:-1]
    assert read[-1].startswith("msg_")
    path = f"threads/{thread_id}/messages.jsonl"
    assert found(store) == {
        (path, Kind.BYTE_ORDER_MARK): "",
        (path, Kind.GLUED_LINES): "line 2",
        (path, Kind.CRLF): "line 3",
        (path, Kind.BAD_LINE): "line 4",
        (path, Kind.DUPLICATE_ID): "line 8",
        (path, Kind.WRONG_THREAD_ID): "line 9",
        (path, Kind.FOREIGN_LINE): "line 10",
        (path, Kind.PATH_OUTSIDE): "line 11, line 12, line 13",
        (path, Kind.MISSING_FILE): "line 14",
        (path, Kind.MISSING_ID): "line 15",
        (path, Kind.TORN_TAIL): "line 16",
    }


def test_a_damaged_thread_goes_on_and_its_lines_stay(store: Store, janroot: Path) -> None:
    damaged_messages(janroot)
    thread_id = ThreadId("jan_1705000000")
    path = janroot / "threads" / thread_id / "messages.jsonl"
    before, read = path.read_bytes(), store.messages.page(thread_id, ALL).items
    store.messages.append(thread_id, [replace(read[0], id=MessageId("new"))])
    half = before[before.rindex(b"\n") + 1 :]
    assert path.read_bytes().startswith(before.removesuffix(half))
    assert [message.id for message in store.messages.page(thread_id, ALL).items] == [*(item.id for item in read), "new"]
    [kept] = (janroot / ".server/quarantine").iterdir()
    assert kept.read_bytes() == half
    assert (".server/quarantine", Kind.QUARANTINED) in found(store)


def test_no_reference_leads_out_of_the_thread(store: Store, janroot: Path) -> None:
    damaged_messages(janroot)
    for message in store.messages.page(ThreadId("jan_1705000000"), ALL).items:
        names = [part["image_file"]["file_id"] for part in message.content if "image_file" in part]
        assert names in ([], ["lost.png"])


def test_what_jan_06_and_other_engines_leave_is_told(store: Store, janroot: Path) -> None:
    jan.v06_thread(janroot)
    jan.v04_root(janroot)
    every_model(janroot)
    findings = found(store)
    assert findings[f"threads/{jan.V06_THREAD}/thread.json", Kind.CREATED_LATER] == ""
    assert findings["settings/@janhq/inference-openai-extension/settings.json", Kind.SECRET] == "openai-api-key"
    assert findings["models/mistral-trt/model.json", Kind.OTHER_ENGINE] == "nitro-tensorrt-llm"
    assert ("models/mistral-trt/model.json", Kind.PLACEHOLDER) in findings
    assert findings["mlx/models/apple-demo/model.yml", Kind.OTHER_ENGINE] == "mlx"
    wanting = {key for key in findings if key[1].severity is not Severity.INFO}
    assert wanting == {("models/my-own/model.json", Kind.PATH_OUTSIDE)}


def test_two_models_of_one_id_are_told(store: Store, janroot: Path) -> None:
    put(janroot / "models/org/demo/model.json", {"format": "api", "sources": [{"url": "http://x"}]})
    put(janroot / "llamacpp/models/org/demo/model.yml", "model_path: a.gguf\nname: Demo\n")
    assert store.models.all()[0].format == "api"
    assert found(store) == {
        ("llamacpp/models/org/demo/model.yml", Kind.SHADOWED): "by models/org/demo/model.json",
    }


def test_the_worst_is_told_first_and_all_is_counted(store: Store, janroot: Path, tmp_path: Path) -> None:
    damaged_root(janroot, tmp_path / "outside")
    whole, cut = store.report(10_000), store.report(3)
    assert cut.findings == whole.findings[:3]
    assert {finding.kind.severity for finding in cut.findings} == {Severity.ERROR}
    assert cut.counts == whole.counts
    assert whole.total == len(whole.findings)


def test_names_that_are_no_text_are_told(store: Store, janroot: Path) -> None:
    (janroot / "threads" / os.fsdecode(b"caf\xe9")).mkdir()
    put(janroot / "threads/jan_1/thread.json", {})
    [finding] = store.report(10).findings
    assert finding == Finding("threads/caf\udce9", Kind.GHOST_FOLDER)
    assert [thread.id for thread in store.threads.page(ALL).items] == ["jan_1"]


@pytest.mark.parametrize("name", ["", "/thread.json", "/messages.jsonl"])
def test_what_is_closed_to_the_server_is_told(
    store: Store, janroot: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    closed = janroot / f"threads/{jan.v04_thread(janroot)}{name}"
    # Root may read everything, so the answers of the system are given here.
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != closed)
    monkeypatch.setattr("storage_service.store.jsonfile._read", lambda path, most: (None, NOTHING))
    assert (f"threads/{jan.V04_THREAD}{name}", Kind.UNREADABLE) in found(store)


@pytest.mark.parametrize("kind", Kind)
def test_every_kind_says_what_it_means_and_what_to_do(kind: Kind) -> None:
    assert kind.meaning.endswith(".")
    assert kind.action.endswith(".")


def test_every_kind_is_described() -> None:
    page = PAGE.read_text(encoding="utf-8")
    rows = [f"| `{kind.name.lower()}` | {kind.severity} | {kind.meaning} | {kind.action} |" for kind in Kind]
    assert [row for row in rows if row not in page] == []


def test_what_is_no_file_where_one_belongs_is_told(store: Store, janroot: Path, tmp_path: Path) -> None:
    threads = janroot / "threads"
    put(threads / "jan_1705000001/thread.json", {"title": "Folders"})
    (threads / "jan_1705000001/messages.jsonl").mkdir()
    (threads / "jan_1705000001/runs.jsonl").mkdir()
    put(threads / "Work/jan_1705000002/thread.json", {"title": "Pipes"})
    for name in ("messages.jsonl", "runs.jsonl", "stray"):
        os.mkfifo(threads / "Work/jan_1705000002" / name)
    put(threads / "jan_1705000003/messages.jsonl", b"")
    os.mkfifo(threads / "jan_1705000003/thread.json")
    for name in ("runs.jsonl", "files", "notes.txt"):
        (threads / "jan_1705000003" / name).symlink_to(tmp_path / "outside")
    (threads / "jan_1705000004/thread.json").mkdir(parents=True)
    os.mkfifo(threads / "stray")
    assert found(store).keys() == {
        ("threads/jan_1705000001/messages.jsonl", Kind.NOT_A_FILE),
        ("threads/jan_1705000001/runs.jsonl", Kind.NOT_A_FILE),
        ("threads/Work/jan_1705000002", Kind.NESTED_THREAD),
        ("threads/Work/jan_1705000002/messages.jsonl", Kind.NOT_A_FILE),
        ("threads/Work/jan_1705000002/runs.jsonl", Kind.NOT_A_FILE),
        ("threads/Work/jan_1705000002/stray", Kind.STRAY_FILE),
        ("threads/jan_1705000003/thread.json", Kind.NOT_A_FILE),
        ("threads/jan_1705000003/runs.jsonl", Kind.LINK),
        ("threads/jan_1705000003/files", Kind.LINK),
        ("threads/jan_1705000004/thread.json", Kind.NOT_A_FILE),
        ("threads/stray", Kind.STRAY_FILE),
    }

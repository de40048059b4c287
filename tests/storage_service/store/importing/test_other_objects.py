"""Vector stores, stored chats and batches of another janroot come in once, whole, and under names that are free."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from jan.errors import ConflictError
from jan.ids import BatchId, CompletionId, FileId, VectorStoreId
from storage_service.store import atomic
from storage_service.store.batches.records import BatchStatus
from storage_service.store.store import Store
from tests.fixtures import zips
from tests.storage_service.store.importing.conftest import Import

STORE: dict[str, Any] = {"id": "vs_1", "object": "vector_store", "created_at": 1_700_000_000_000, "name": "notes"}
TOLD: dict[str, Any] = {
    "id": "file-a",
    "object": "vector_store.file",
    "filename": "a.txt",
    "status": "completed",
    "usage_bytes": 5,
}
CHAT: dict[str, Any] = {"id": "chatcmpl-1", "owner": "ab" * 16, "created": 1_700_000_000_000, "stored": 1, "model": "m"}
CHAT |= {"metadata": {"a": "b"}, "messages": [{"role": "user", "content": "Hi"}], "completion": {"id": "chatcmpl-1"}}
BATCH: dict[str, Any] = {
    "id": "batch_1",
    "endpoint": "/v1/responses",
    "input_file_id": "file-a",
    "tenant": "key:1",
    "metadata": {},
}
BATCH |= {"status": "in_progress", "created_at": 1_700_000_000_000, "request_counts": {"total": 2}, "steps": []}
RESULT = {"line": 1, "answered": True, "usage": {}, "result": {"custom_id": "a"}}


def janroot_of(**changed: Any) -> dict[str, bytes]:
    """Another janroot's files; `changed` are other values of its store, chat and batch."""
    upload = {"id": "file-a", "object": "file", "bytes": 5, "filename": "a.txt", "purpose": "assistants"}
    values: dict[str, Any] = {
        "files/file-a.json": upload,
        "assistants/poet/assistant.json": {"id": "poet", "name": "Poet", **_searching()},
        "threads/jan_1/thread.json": {"title": "Pears", **_searching()},
        "vector_stores/vs_1/vector_store.json": STORE | changed.get("store", {}),
        "vector_stores/vs_1/files/file-a.json": TOLD,
        "vector_stores/vs_1/batches/vsfb_1.json": {"id": "vsfb_1", "created_at": 1},
        "completions/chatcmpl-1.json": CHAT | changed.get("chat", {}),
        "batches/batch_1.json": BATCH | changed.get("batch", {}),
        "batches/batch_1.results.jsonl": RESULT,
    }
    texts = {"files/file-a": b"pears", "vector_stores/vs_1/files/file-a.txt": b"pears"}
    return {name: json.dumps(value).encode() + b"\n" for name, value in values.items()} | texts


def _searching(store_id: str = "vs_1") -> dict[str, Any]:
    return {"tool_resources": {"file_search": {"vector_store_ids": [store_id]}}}


NEW = ("vector_stores", "completions", "batches")


def test_they_come_in(store: Store, take_in: Import) -> None:
    report = take_in(zips.zip_of(janroot_of()))
    assert [report.counts[name] for name in NEW] == [1, 1, 1]
    assert (report.counts["quarantined"], report.counts["refused"]) == (0, 0)
    assert store.vector_stores.get(VectorStoreId("vs_1")).name == "notes"
    assert store.vector_store_files.read_text(VectorStoreId("vs_1"), FileId("file-a")) == "pears"
    assert store.completions.get(CompletionId("chatcmpl-1"), "ab" * 16).metadata == {"a": "b"}


def test_a_batch_that_was_under_way_is_stopped_and_keeps_its_answers(store: Store, take_in: Import) -> None:
    take_in(zips.zip_of(janroot_of()))
    [active] = store.batches.active()
    assert (active.status, active.total, active.counts.completed) == (BatchStatus.CANCELLING, 2, 1)
    ended = store.batches.move(BatchId("batch_1"), BatchStatus.CANCELLED)
    assert store.files.get(FileId(ended.output_file_id)).purpose == "batch_output"


def test_a_second_time_changes_nothing(store: Store, janroot: Path, take_in: Import) -> None:
    take_in(zips.zip_of(janroot_of()))
    before = _all_files(janroot)
    report = take_in(zips.zip_of(janroot_of()))
    assert _all_files(janroot) == before
    assert ([report.counts[name] for name in NEW], report.quarantine) == ([0, 0, 0], "")
    here = [(told["kind"], told["id"]) for told in report.lists["already_here"]]
    assert {("vector_store", "vs_1"), ("completion", "chatcmpl-1"), ("batch", "batch_1")} <= set(here)


def test_a_dry_run_counts_and_changes_nothing(janroot: Path, take_in: Import) -> None:
    before = _all_files(janroot)
    report = take_in(zips.zip_of(janroot_of()), dry_run=True)
    assert [report.counts[name] for name in NEW] == [1, 1, 1]
    assert _all_files(janroot) == before


def test_what_has_a_taken_name_gets_another_and_those_that_name_it_follow(
    store: Store, janroot: Path, take_in: Import
) -> None:
    other = janroot_of(
        store={"created_at": 1_600_000_000_000}, chat={"created": 5}, batch={"created_at": 1_600_000_000_000}
    )
    take_in(zips.zip_of(janroot_of()))
    report = take_in(zips.zip_of(other))
    moved = {(told["kind"], told["from"], told["to"]) for told in report.lists["remapped"]}
    assert {
        ("vector_store", "vs_1", "vs_1-2"),
        ("completion", "chatcmpl-1", "chatcmpl-1-2"),
        ("batch", "batch_1", "batch_1-2"),
        ("assistant", "poet", "poet-2"),
        ("thread", "jan_1", "jan_1-2"),
    } == moved
    for name in ("assistants/poet-2/assistant.json", "threads/jan_1-2/thread.json"):
        assert json.loads((janroot / name).read_bytes())["tool_resources"] == _searching("vs_1-2")["tool_resources"]
    chat = json.loads((janroot / "completions/chatcmpl-1-2.json").read_bytes())
    assert (chat["id"], chat["completion"]["id"]) == ("chatcmpl-1-2", "chatcmpl-1-2")
    again = take_in(zips.zip_of(other))
    assert [again.counts[name] for name in (*NEW, "threads", "assistants", "quarantined")] == [0] * 6


def test_a_store_follows_the_new_names_of_its_uploads(store: Store, janroot: Path, take_in: Import) -> None:
    take_in(zips.zip_of({"files/file-a": b"other", "threads/jan_9/thread.json": b"{}"}))
    report = take_in(zips.zip_of(janroot_of()))
    [new] = [told["to"] for told in report.lists["remapped"] if told["kind"] == "file"]
    assert store.vector_store_files.read_text(VectorStoreId("vs_1"), FileId(new)) == "pears"
    assert store.vector_store_files.get(VectorStoreId("vs_1"), FileId(new)).id == new
    assert store.batches.get(BatchId("batch_1")).input_file_id == new


def test_what_is_broken_is_set_aside(janroot: Path, take_in: Import) -> None:
    broken = {
        "threads/jan_1/thread.json": b"{}",
        "vector_stores/vs_1/vector_store.json": b"{",
        "vector_stores/vs_1/files/file-a.txt": b"pears",
        "completions/chatcmpl-1.json": b"",
        "batches/batch_1.json": b"[]",
        "batches/batch_2.results.jsonl": b"{}\n",
    }
    report = take_in(zips.zip_of(broken))
    assert [report.counts[name] for name in NEW] == [0, 0, 0]
    assert {told["path"] for told in report.lists["quarantined"]} == broken.keys() - {"threads/jan_1/thread.json"}


def test_a_crash_while_it_is_published_leaves_whole_things_and_the_rest_comes_later(
    store: Store, janroot: Path, take_in: Import, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved: list[Path] = []
    wanted = sorted({name.rpartition("/")[0] for name in janroot_of()})
    for most in range(8):
        moved.clear()

        def move(source: Path, target: Path, most: int = most, real: Any = atomic.move) -> None:
            if len(moved) >= most:
                raise ConflictError("killed")
            moved.append(target)
            real(source, target)

        with monkeypatch.context() as patched:
            patched.setattr(atomic, "move", move)
            try:
                take_in(zips.zip_of(janroot_of()))
            except ConflictError:
                assert not list(janroot.glob("batches/*.json"))
    take_in(zips.zip_of(janroot_of()))
    assert {str(path.parent.relative_to(janroot)) for path in janroot.rglob("*") if path.is_file()} >= set(wanted)
    [active] = store.batches.active()
    assert active.counts.completed == 1


def _all_files(janroot: Path) -> dict[str, bytes]:
    places = ("threads", "assistants", "files", *NEW, ".server/quarantine")
    found = [path for place in places for path in (janroot / place).rglob("*") if path.is_file()]
    return {str(path.relative_to(janroot)): path.read_bytes() for path in found}

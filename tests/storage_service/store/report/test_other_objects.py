"""What is broken of runs, vector stores, stored chats and batches is told, and hides nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from storage_service.store.report.findings import Kind
from storage_service.store.report.vector_stores import Embedders
from storage_service.store.store import Store
from storage_service.store.vector_stores.records import Embedder
from tests.fixtures.jan_files import put
from tests.storage_service.store.report.test_whole import found

RUN = '{"id":"run_1","object":"thread.run","status":"completed"'
STORE = "vector_stores/vs_1"
MINI, LARGE = Embedder("mini", "r1"), Embedder("large", "r1")
RESPONSE = RUN.replace("run_1", "run_2") + ',"response":{"told_back":{},"input":[]}}\n'


def test_batches(store: Store, janroot: Path) -> None:
    put(janroot / "files/file-in", "x")
    put(janroot / "batches/batch_1.json", {"status": "in_progress", "input_file_id": "file-in"})
    put(janroot / "batches/batch_1.results.jsonl", '{"line":1,"answered":true,"result":{}}\n{}\n{bad}\n{"line":2,')
    put(janroot / "batches/batch_2.json", {"status": "in_progress", "input_file_id": "file-gone"})
    put(janroot / "batches/batch_3.json", "[]")
    put(janroot / "batches/batch_4.results.jsonl", "")
    put(janroot / "batches/notes.txt", "x")
    (janroot / "batches/batch_5.json").symlink_to("/etc/hostname")
    assert found(store) == {
        ("batches/batch_1.results.jsonl", Kind.FOREIGN_LINE): "record 2",
        ("batches/batch_1.results.jsonl", Kind.BAD_LINE): "record 3",
        ("batches/batch_1.results.jsonl", Kind.TORN_TAIL): "record 4",
        ("batches/batch_2.json", Kind.MISSING_FILE): "its input 'file-gone'",
        ("batches/batch_3.json", Kind.UNREADABLE): "it is not one JSON object",
        ("batches/batch_4.results.jsonl", Kind.ORPHAN): "",
        ("batches/notes.txt", Kind.STRAY_FILE): "",
        ("batches/batch_5.json", Kind.LINK): "",
    }


def test_vector_stores(store: Store, janroot: Path) -> None:
    home = janroot / "vector_stores"
    put(home / "vs_1/vector_store.json", {"name": "notes"})
    put(home / "vs_1/files/file-a.json", {"status": "completed"})
    put(janroot / "files/file-a", "x")
    put(home / "vs_1/files/file-b.json", {"status": "failed"})
    put(home / "vs_1/files/file-c.json", "{")
    put(home / "vs_1/files/file-d.txt", "pears")
    put(home / "vs_1/files/x.png", "PNG")
    put(home / "vs_1/files/file-a.vectors", "{}")
    put(home / "vs_1/files/file-e.vectors", "{}")
    put(home / "vs_1/batches/vsfb_1.json", "")
    put(home / "vs_2/vector_store.json", "")
    put(home / "vs_3/files/file-a.txt", "")
    put(home / "two words/vector_store.json", {})
    put(home / "notes.txt", "x")
    assert found(store) == {
        ("vector_stores/vs_1/files/file-a.json", Kind.MISSING_FILE): "its text",
        ("vector_stores/vs_1/files/file-b.json", Kind.MISSING_FILE): "its upload",
        ("vector_stores/vs_1/files/file-c.json", Kind.UNREADABLE): "it is not one JSON object",
        ("vector_stores/vs_1/files/file-d.txt", Kind.ORPHAN): "",
        ("vector_stores/vs_1/files/file-e.vectors", Kind.ORPHAN): "",
        ("vector_stores/vs_1/files/x.png", Kind.STRAY_FILE): "",
        ("vector_stores/vs_1/batches/vsfb_1.json", Kind.UNREADABLE): "it is not one JSON object",
        ("vector_stores/vs_2/vector_store.json", Kind.UNREADABLE): "it is not one JSON object",
        ("vector_stores/vs_3", Kind.GHOST_FOLDER): "",
        ("vector_stores/two words", Kind.FOREIGN_NAME): "",
        ("vector_stores/notes.txt", Kind.STRAY_FILE): "",
    }


@pytest.mark.parametrize(
    ("here", "wanted", "expected"),
    [
        ([MINI], "mini", {}),
        ([], "", {f"{STORE}/vector_store.json": Kind.EMBEDDER_GONE}),
        ([Embedder("mini", "r2")], "", {f"{STORE}/vector_store.json": Kind.EMBEDDER_GONE}),
        ([MINI], "", {}),  # it still tells what a query means
        ([], "large", {f"{STORE}/vector_store.json": Kind.EMBEDDER_GONE, "models/large": Kind.NO_EMBEDDER}),
        ([MINI], "large", {"models/large": Kind.NO_EMBEDDER}),
        ([MINI, LARGE], "large", {f"{STORE}/vector_store.json": Kind.EMBEDDED_ANEW}),
        ([Embedder("mini", "r2")], "mini", {f"{STORE}/vector_store.json": Kind.EMBEDDED_ANEW}),
    ],
)
def test_models_that_embed(
    store: Store, janroot: Path, here: list[Embedder], wanted: str, expected: dict[str, Kind]
) -> None:
    embedding = {"model": "mini", "revision": "r1", "dimensions": 2}
    put(janroot / STORE / "vector_store.json", {"embedding": embedding})
    put(janroot / STORE / "files/file-a.json", {"status": "in_progress"})
    put(janroot / "files/file-a", "x")
    put(janroot / "vector_stores/vs_empty/vector_store.json", {"embedding": embedding | {"revision": "r0"}})
    put(janroot / "vector_stores/vs_words/vector_store.json", {})
    put(janroot / "vector_stores/vs_words/files/file-a.json", {"status": "in_progress"})
    report = store.report(100, Embedders(frozenset(here), wanted))
    assert {finding.path: finding.kind for finding in report.findings} == expected
    assert store.report(100).findings == ()


def test_runs_and_what_makes_them_responses(store: Store, janroot: Path) -> None:
    home = janroot / "threads/jan_1"
    put(home / "thread.json", {"id": "jan_1", "title": "x"})
    put(home / "messages.jsonl", '{"id":"m","role":"user","content":"x"}\n')
    odd = RUN.replace("run_1", "run_3") + ',"response":{"input":[]}}\n'
    put(home / "runs.jsonl", f"{RUN}}}\n{RESPONSE}{odd}nonsense\n{RUN}")
    assert found(store) == {
        ("threads/jan_1/runs.jsonl", Kind.FOREIGN_LINE): "record 3",
        ("threads/jan_1/runs.jsonl", Kind.BAD_LINE): "record 4",
        ("threads/jan_1/runs.jsonl", Kind.TORN_TAIL): "record 5",
    }

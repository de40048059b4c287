"""Which of an archive's files belong together, told with bounded work."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from types import FrameType
from typing import Any

import pytest

from jan.errors import InvalidArgumentError
from storage_service.store.archive import Entry
from storage_service.store.importing import contents


def entries(names: Iterable[str]) -> list[Entry]:
    return [
        Entry(
            name=name,
            method=0,
            crc=0,
            compressed_bytes=0,
            size_bytes=0,
            offset=0,
            streamed=False,
            changed_seconds=0,
            permissions=0,
            mtime_ns=None,
            comment=b"",
        )
        for name in names
    ]


def steps(files: list[Entry]) -> int:
    """How many lines are run to understand an archive; every turn of a loop counts."""
    counted = 0

    def count(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal counted
        counted += event == "line"
        return count

    before = sys.gettrace()
    sys.settrace(count)
    try:
        contents.understand(files)
    finally:
        sys.settrace(before)
    return counted


def test_the_work_for_a_file_does_not_grow_with_the_number_of_jan_folders() -> None:
    few, many = (entries(f"{number}/threads/t/thread.json" for number in range(count)) for count in (50, 500))
    assert steps(many) < 11 * steps(few)


def test_files_belong_to_the_jan_folder_around_them() -> None:
    found = contents.understand(
        entries(["a/threads/t/thread.json", "a/b/threads/u/thread.json", "c/d/threads/v/thread.json", "c/x"])
    )
    assert found is not None
    assert [list(root.threads) for root in found.roots if root.threads] == [["a/threads/t"], ["c/d/threads/v"]]
    assert [entry.name for root in found.roots for entry in root.configuration] == ["a/b/threads/u/thread.json"]
    assert [entry.name for root in found.roots for entry, _ in root.strays] == ["c/x"]


def test_stores_chats_and_batches_are_objects_of_their_own() -> None:
    found = contents.understand(
        entries(
            [
                "a/threads/t/thread.json",
                *("a/completions/c.json", "a/completions/d.json"),
                "a/batches/b.results.jsonl",
                *("a/vector_stores/vs_1/vector_store.json", "a/vector_stores/vs_1/files/f.txt"),
            ]
        )
    )
    assert found is not None
    root = found.roots[0]
    assert (list(root.completions), list(root.batches)) == (["c", "d"], ["b.results.jsonl"])
    assert {name: list(folder.files) for name, folder in root.vector_stores.items()} == {
        "vs_1": ["vector_store.json", "files/f.txt"]
    }
    assert [root for root in found.roots if root.strays or root.configuration] == []


def test_more_jan_folders_than_anybody_has_are_refused() -> None:
    with pytest.raises(InvalidArgumentError) as refused:
        contents.understand(entries(f"{n}/threads/t/thread.json" for n in range(contents.MOST_ROOTS + 1)))
    assert refused.value.code == "archive_too_large"

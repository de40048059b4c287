"""Files of vectors, honest and hostile, and the nearest in them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from jan.errors import InvalidArgumentError
from jan.ids import FileId
from storage_service.store.vector_stores import vectors
from storage_service.store.vector_stores.nearest import Chunks, Near, Vectors
from storage_service.store.vector_stores.records import Embedder
from storage_service.store.vector_stores.vectors import Heading, Rows, append, unit_rows

MINI = Embedder("mini", "r1")
HEADING = Heading(MINI, 2, "text")
EAST, NORTH = [1.0, 0.0], [0.0, 1.0]
REFUSED = [float("nan")] * 2


def rows(*vectors: list[float]) -> Rows:
    return unit_rows(np.array(vectors, "<f4").tobytes(), len(vectors[0]))


def chunks(path: Path, count: int, content: str = "text", file_id: str = "file-a") -> Chunks:
    return Chunks(FileId(file_id), path, content, count)


def nearest(held: Vectors, *files: Chunks, to: list[float] = EAST, most: int = 10) -> list[tuple[str, int]]:
    found = held.nearest(files, MINI, np.array(to, np.float32), most)
    assert found == sorted(found, key=lambda near: -near.similarity)
    return [(near.file_id, near.place) for near in found]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "file-a.vectors"


def test_rows_are_written_behind_each_other(path: Path) -> None:
    assert append(path, HEADING, 0, rows(NORTH, [3, 3]))
    assert append(path, HEADING, 2, rows(EAST))
    assert not append(path, HEADING, 4, rows(EAST))
    assert not append(path, Heading(MINI, 2, "another text"), 3, rows(EAST))
    assert nearest(Vectors(), chunks(path, 3)) == [("file-a", 2), ("file-a", 1), ("file-a", 0)]
    assert nearest(Vectors(), chunks(path, 2)) == [("file-a", 1), ("file-a", 0)]


def test_a_chunk_that_the_model_does_not_take_is_near_to_nothing(path: Path) -> None:
    append(path, HEADING, 0, rows(NORTH, REFUSED, EAST))
    held = Vectors()
    assert held.count(chunks(path, 3), MINI, 2) == 3
    assert nearest(held, chunks(path, 3)) == [("file-a", 2), ("file-a", 0)]


@pytest.mark.parametrize("memory_bytes", [0, 30, 10_000])
def test_the_nearest_are_found_with_and_without_room_in_memory(tmp_path: Path, memory_bytes: int) -> None:
    random = np.random.default_rng(7)
    made = [random.standard_normal((20, 2)).astype("<f4") for _ in range(5)]
    files = [chunks(tmp_path / f"{n}.vectors", 20, file_id=f"file-{n}") for n in range(5)]
    for file, each in zip(files, made, strict=True):
        append(file.path, HEADING, 0, unit_rows(each.tobytes(), 2))
    cosines = np.concatenate([each[:, 0] / np.linalg.norm(each, axis=1) for each in made])
    best = np.argsort(-cosines)[:7]
    held = Vectors(memory_bytes)
    for _ in range(2):
        assert nearest(held, *files, most=7) == [(f"file-{n // 20}", n % 20) for n in best]


def test_equal_ones_come_in_the_order_of_the_files(tmp_path: Path) -> None:
    files = [chunks(tmp_path / name, 2, file_id=f"file-{name}") for name in "ba"]
    for file in files:
        append(file.path, HEADING, 0, rows(EAST, EAST))
    assert nearest(Vectors(), *files, most=3) == [("file-b", 0), ("file-b", 1), ("file-a", 0)]


def test_vectors_of_others_do_not_count(path: Path) -> None:
    append(path, HEADING, 0, rows(EAST))
    held = Vectors()
    assert held.count(chunks(path, 1, "another text"), MINI, 2) == 0
    assert held.count(chunks(path, 1), Embedder("mini", "r2"), 2) == 0
    assert (held.count(chunks(path, 1), MINI, 3), held.count(chunks(path, 1), MINI, 0)) == (0, 1)
    assert nearest(held, chunks(path, 1, "another text")) == []
    assert nearest(held, chunks(path, 1), to=[1.0, 0.0, 0.0]) == []
    append(path, Heading(MINI, 2, "another text"), 0, rows(NORTH))
    assert nearest(held, chunks(path, 1, "another text")) == [("file-a", 0)]


def test_a_file_that_goes_is_gone(path: Path) -> None:
    append(path, HEADING, 0, rows(EAST))
    held = Vectors()
    assert nearest(held, chunks(path, 1)) == [("file-a", 0)]
    path.unlink()
    assert (nearest(held, chunks(path, 1)), held.count(chunks(path, 1), MINI, 2)) == ([], 0)


def _heading(**said: object) -> bytes:
    true = {"version": 1, "model": "mini", "revision": "r1", "dimensions": 2, "content": "text"}
    return json.dumps(true | said).encode() + b"\n"


HOSTILE: dict[str, bytes] = {
    "nothing": b"",
    "no heading": os.urandom(5000).replace(b"\n", b" "),
    "a list": b"[]\n" + rows(EAST).tobytes(),
    "another version": _heading(version=2) + rows(EAST).tobytes(),
    "huge dimensions": _heading(dimensions=2**40) + rows(EAST).tobytes(),
    "no dimensions": _heading(dimensions=0) + rows(EAST).tobytes(),
    "negative dimensions": _heading(dimensions=-2) + rows(EAST).tobytes(),
    "half a row": _heading() + b"\0\0\0\0",
    "zeros": _heading() + bytes(8),
    "infinite": _heading() + np.array([np.inf, 0], "<f4").tobytes(),
    "half a number": _heading() + np.array([np.nan, 1], "<f4").tobytes(),
    "long vectors": _heading() + np.array([3, 4], "<f4").tobytes(),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_lies_is_not_believed(path: Path, name: str) -> None:
    path.write_bytes(HOSTILE[name])
    held = Vectors()
    assert nearest(held, chunks(path, 1)) == []
    assert held.count(chunks(path, 1), MINI, 2) == 0
    assert append(path, HEADING, 0, rows(EAST))
    assert nearest(held, chunks(path, 1)) == [("file-a", 0)]


@pytest.mark.parametrize("place", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to("/etc/passwd")])
def test_what_is_no_file_is_not_read(path: Path, place: Callable[[Path], None]) -> None:
    place(path)
    assert vectors.look(path) is None
    assert nearest(Vectors(), chunks(path, 1)) == []


def test_rows_behind_a_broken_one_are_made_again(path: Path) -> None:
    append(path, HEADING, 0, rows(EAST, NORTH, EAST))
    data = bytearray(path.read_bytes())
    data[-16:-8] = bytes(8)
    path.write_bytes(data)
    held = Vectors()
    assert nearest(held, chunks(path, 3)) == [("file-a", 0)]
    assert held.count(chunks(path, 3), MINI, 2) == 1
    assert append(path, HEADING, 1, rows(NORTH, EAST))
    assert nearest(held, chunks(path, 3)) == [("file-a", 0), ("file-a", 2), ("file-a", 1)]


@pytest.mark.parametrize(
    ("data", "dimensions"),
    [
        (b"", 2),
        (bytes(8), 2),
        (b"123", 1),
        (np.array([1, np.inf], "<f4").tobytes(), 2),
        (np.array([1, np.nan], "<f4").tobytes(), 2),
        (np.array([1, 2, 3], "<f4").tobytes(), 2),
        (np.ones(4097, "<f4").tobytes(), 4097),
        (np.ones(1, "<f4").tobytes(), 0),
    ],
)
def test_what_is_no_vector_is_refused(data: bytes, dimensions: int) -> None:
    with pytest.raises(InvalidArgumentError):
        unit_rows(data, dimensions)


def test_a_similarity_is_a_cosine(path: Path) -> None:
    append(path, HEADING, 0, rows([3, 4]))
    [near] = Vectors().nearest([chunks(path, 1)], MINI, np.array(EAST, np.float32), 1)
    assert near == Near(FileId("file-a"), 0, pytest.approx(0.6))  # type: ignore[arg-type]

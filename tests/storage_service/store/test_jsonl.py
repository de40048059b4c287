"""Reading lines that Jan, an editor or a crash left behind."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage_service.store import jsonl

TEXT = st.text(alphabet=st.characters(exclude_categories=["Cs"]))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
OBJECTS = st.dictionaries(st.text(alphabet='abc{}"\\ ', max_size=4), JSON, max_size=3)


def read(folder: Path, data: bytes) -> list[tuple[bytes, object]]:
    path = folder / "lines.jsonl"
    path.write_bytes(data)
    with path.open("rb") as file:
        return [(jsonl.read(file.fileno(), part), part.value) for part in jsonl.segments(file.fileno())]


@pytest.mark.parametrize("data", [b"", b"\n", b"\r\n\r\n", b"  \n\t\n"])
def test_white_space_holds_nothing(tmp_path: Path, data: bytes) -> None:
    assert read(tmp_path, data) == []


@pytest.mark.parametrize("between", [b"\n", b"\r\n", b"", b" ", b"\n\n"])
def test_objects_are_found_whatever_stands_between_them(tmp_path: Path, between: bytes) -> None:
    found = read(tmp_path, b'{"id":"a"}' + between + b'{"id":"b"}' + between)
    assert found == [(b'{"id":"a"}', {"id": "a"}), (b'{"id":"b"}', {"id": "b"})]


def test_a_bad_line_is_one_segment_and_hides_no_neighbour(tmp_path: Path) -> None:
    found = read(tmp_path, b'{"id":"a"}\n{"id": oops}\n[1]\n\xff\xfe\n{"id":"b"}\n{"id":"c"')
    assert [value for _, value in found] == [{"id": "a"}, None, None, None, {"id": "b"}, None]
    assert found[1][0] == b'{"id": oops}'


def test_what_follows_a_whole_object_on_its_line_is_kept_apart(tmp_path: Path) -> None:
    assert read(tmp_path, '{"t":"ä"}{"half'.encode()) == [('{"t":"ä"}'.encode(), {"t": "ä"}), (b'{"half', None)]


def test_a_line_that_is_too_long_is_not_read_but_its_neighbours_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jsonl, "MAX_LINE_BYTES", 64)
    long = b'{"id":"' + b"x" * 300 + b'"}'
    found = read(tmp_path, b'{"id":"a"}\n' + long + b'\n{"id":"b"}\n')
    assert [value for _, value in found] == [{"id": "a"}, None, {"id": "b"}]
    assert found[1][0].strip() == long


def test_deep_nesting_is_a_bad_line(tmp_path: Path) -> None:
    assert [value for _, value in read(tmp_path, b'{"a":' * 100_000 + b"\n")] == [None]


@given(st.lists(OBJECTS, max_size=5), st.sampled_from([b"\n", b"\r\n", b""]))
def test_what_is_encoded_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, objects: list[dict[str, object]], ending: bytes
) -> None:
    data = b"".join(jsonl.encode(value).removesuffix(b"\n") + ending for value in objects)
    assert [value for _, value in read(tmp_path_factory.mktemp("jsonl"), data)] == objects

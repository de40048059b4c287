"""Zips that every reader reads: what goes in comes out, to the byte."""

from __future__ import annotations

import io
import stat
import struct
import zipfile
from collections.abc import Iterator

import pytest

from storage_service.store.exports import zip_writer
from storage_service.store.exports.zip_writer import ENCODED_NAME, WHOLE_BYTES, Item, ZipWriter

NOON_NS = 1_704_542_400_123_456_700


def item(name: str, mtime_ns: int = NOON_NS) -> Item:
    return Item(name, stat.S_IFREG | 0o640, mtime_ns)


def written(*files: tuple[Item, bytes]) -> bytes:
    writer = ZipWriter()
    made = [b"".join(writer.file(entry, len(data), pieces(data))) for entry, data in files]
    return b"".join([*made, *writer.finish()])


def pieces(data: bytes) -> Iterator[bytes]:
    for offset in range(0, len(data), 1000):
        yield data[offset : offset + 1000]


def test_files_and_folders_come_out_as_they_went_in() -> None:
    files = {"a/b.txt": b"", "a/ä ö.json": b"{}", "long": bytes(range(256)) * (WHOLE_BYTES // 100)}
    writer = ZipWriter()
    made = [*writer.folder(Item("a", stat.S_IFDIR | 0o755, NOON_NS))]
    for name, data in files.items():
        made += writer.file(item(name), len(data), pieces(data))
    made += writer.finish()
    with zipfile.ZipFile(io.BytesIO(b"".join(made))) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["a/", *files]
        assert archive.infolist()[0].is_dir()
        for name, data in files.items():
            assert archive.read(name) == data
            info = archive.getinfo(name)
            assert info.external_attr >> 16 == stat.S_IFREG | 0o640
            assert info.compress_type == zipfile.ZIP_STORED
            assert struct.unpack("<i", info.extra[5:9]) == (NOON_NS // 1_000_000_000,)


def test_an_empty_one_is_a_zip() -> None:
    with zipfile.ZipFile(io.BytesIO(written())) as archive:
        assert archive.namelist() == []


@pytest.mark.parametrize("mtime_ns", [0, -1, -(2**62), 2**62, 10**18 * 9])
def test_no_time_is_too_strange(mtime_ns: int) -> None:
    with zipfile.ZipFile(io.BytesIO(written((item("a", mtime_ns), b"x")))) as archive:
        assert archive.read("a") == b"x"


@pytest.mark.parametrize("name", ["a\\b", "a\nb", "C:x", "caf\udce9"])
def test_a_name_that_is_no_plain_text_is_encoded(name: str) -> None:
    with zipfile.ZipFile(io.BytesIO(written((item(name), b"x")))) as archive:
        [info] = archive.infolist()
        assert info.comment == ENCODED_NAME
        assert info.filename.isprintable()
        assert info.filename.isascii()


def test_a_file_that_changes_its_length_meanwhile_is_still_told_right() -> None:
    writer = ZipWriter()
    made = [*writer.file(item("grew"), 10, [b"x" * 20]), *writer.file(item("shrank"), 10**6, [b"y" * 7])]
    with zipfile.ZipFile(io.BytesIO(b"".join([*made, *writer.finish()]))) as archive:
        assert (archive.read("grew"), archive.read("shrank")) == (b"x" * 20, b"y" * 7)


def test_large_files_and_many_are_told_in_64_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zip_writer, "_LARGE_BYTES", 300_000)
    files = [(item(f"{number}"), bytes([number % 256]) * size) for number, size in enumerate([400_000, 10, 400_000])]
    files += [(item(f"small/{number}"), b"") for number in range(70_000)]
    with zipfile.ZipFile(io.BytesIO(written(*files))) as archive:
        assert len(archive.infolist()) == 70_003
        assert archive.testzip() is None
        assert archive.read("2") == files[2][1]

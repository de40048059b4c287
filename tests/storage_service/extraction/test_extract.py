"""Text out of every form that is read, and an end to those that would never end."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from storage_service.extraction import child
from storage_service.extraction.errors import InvalidFileError, UnsupportedFileError
from storage_service.extraction.extract import StoppedError, extract
from storage_service.extraction.html_text import html_to_text
from storage_service.extraction.kinds import Kind, kind_of
from tests.storage_service.extraction.making import docx, lying, pdf


def text_of(folder: Path, name: str, data: bytes, *, stopping: bool = False) -> str:
    path = folder / "upload"
    path.write_bytes(data)
    fd = os.open(path, os.O_RDONLY)
    try:
        return extract(fd, name, lambda: stopping)
    finally:
        os.close(fd)


@pytest.mark.parametrize(
    ("name", "data", "text"),
    [
        ("a.md", b"# Hi\r\n\r\nthere", "# Hi\n\nthere"),
        ("a.json", b'{"a": 1}', '{"a": 1}'),
        ("a.py", "print('ä')".encode(), "print('ä')"),
        ("a.txt", b"\xef\xbb\xbfmarked", "marked"),
        ("a.txt", "wide ä".encode("utf-16"), "wide ä"),
        ("noname", b"plain", "plain"),
    ],
)
def test_plain_texts_are_kept(tmp_path: Path, name: str, data: bytes, text: str) -> None:
    assert text_of(tmp_path, name, data) == text


def test_documents_are_read_by_a_child(tmp_path: Path) -> None:
    assert text_of(tmp_path, "a.pdf", pdf("Page one", "Page two")).split("\n") == ["Page one", "Page two", ""]
    assert text_of(tmp_path, "a.docx", docx("First", "Second")).split("\n") == ["First", "Second", ""]
    assert text_of(tmp_path, "a.htm", b"<title>T</title><p>One<p>Two").split("\n") == ["T", "One", "Two", ""]


@pytest.mark.parametrize(
    ("name", "data"),
    [("a.png", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"), ("a.zip", b"PK\x03\x04rest"), ("a.xlsx", docx("x")), ("a", b"a\0b")],
)
def test_other_forms_are_unsupported(tmp_path: Path, name: str, data: bytes) -> None:
    with pytest.raises(UnsupportedFileError, match="PDF, DOCX"):
        text_of(tmp_path, name, data)


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("a.txt", b"", "is empty"),
        ("a.txt", b" \n ", "holds no text"),
        ("a.txt", b"\xff\xe4\xf6", "UTF-8"),
        ("a.pdf", b"%PDF-1.4\nnothing", "broken"),
        ("a.docx", docx("x")[:200], "broken"),
        ("a.docx", docx(body="<w:p>" * 3 + "</w:p>"), "broken"),
    ],
)
def test_broken_files_are_invalid(tmp_path: Path, name: str, data: bytes, reason: str) -> None:
    with pytest.raises(InvalidFileError, match=reason) as refused:
        text_of(tmp_path, name, data)
    assert "\n" not in str(refused.value)


def test_a_bomb_is_not_unpacked(tmp_path: Path) -> None:
    bomb = lying(docx("x"), 300 * 1024 * 1024)
    with pytest.raises(InvalidFileError, match="unpacks to more"):
        text_of(tmp_path, "a.docx", bomb)


def test_a_reader_that_needs_too_much_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = "<w:p>" * 20_000 + "</w:p>" * 20_000
    with pytest.raises(InvalidFileError):
        text_of(tmp_path, "a.docx", docx(body=deep))
    monkeypatch.setattr("storage_service.extraction.extract.WALL_SECONDS", 0.0)
    with pytest.raises(InvalidFileError, match="within 0 seconds"):
        text_of(tmp_path, "a.pdf", pdf("x"))


def test_a_reader_ends_with_the_service(tmp_path: Path) -> None:
    with pytest.raises(StoppedError):
        text_of(tmp_path, "a.pdf", pdf("x"), stopping=True)


def test_deep_pages_are_no_trouble() -> None:
    assert html_to_text("<div>" * 5_000 + "x" + "</div>" * 5_000) == "x"


@pytest.mark.parametrize(
    ("page", "text"),
    [
        ("<p>wor<b>d</b> two<br>three</p>", "word two\nthree"),
        ("<table><tr><td>1<td>2<tr><td>3</table>", "1 2\n3"),
        ("<head><title>T</title><style>p{}</style></head><body>x<script>a<b</script>y", "T\nx\ny"),
        ("a &amp; b&nbsp;c", "a & b c"),
        ("<head><meta charset=utf-8><body>never closed", "never closed"),
    ],
)
def test_pages_as_they_are_read(page: str, text: str) -> None:
    assert html_to_text(page) == text


def test_what_a_file_is_tells_its_beginning() -> None:
    assert kind_of("a.txt", b"junk %PDF-1.7") is Kind.PDF
    assert kind_of("a.docx", b"PK\x03\x04") is Kind.DOCX
    assert kind_of("a.txt", b"\n <!DOCTYPE HTML>") is Kind.HTML
    assert kind_of("../../a.HTM", b"x") is Kind.HTML
    assert kind_of("a.exe", b"MZ\0") is None


def test_the_child_has_limits() -> None:
    assert child.CPU_SECONDS <= 60
    assert child.MEMORY_BYTES <= 2**30

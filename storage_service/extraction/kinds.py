"""What an uploaded file is, by its first bytes and the ending of its name, and the bounds on reading it."""

from enum import StrEnum
from pathlib import PurePosixPath

# Of the text of one file: some four million tokens, a shelf of books.
MAX_TEXT_BYTES = 16 * 1024 * 1024
# How much is looked at to tell what a file is.
HEAD_BYTES = 4096

_HTML_NAMES = frozenset({".html", ".htm", ".xhtml"})
_HTML_BEGINNINGS = (b"<!doctype html", b"<html")
# Word's, and only the newer form: a zip with XML in it.
_DOCX_NAMES = frozenset({".docx", ".docm", ".dotx"})
_ZIP = b"PK\x03\x04"
_PDF = b"%PDF-"
_WIDE_MARKS = (b"\xff\xfe", b"\xfe\xff")


class Kind(StrEnum):
    """The forms that text is taken out of."""

    PDF = "pdf"
    DOCX = "docx"
    HTML = "html"
    TEXT = "text"
    """Plain text, Markdown, code, JSON: kept as it is."""


def kind_of(filename: str, head: bytes) -> Kind | None:
    """What a file is that begins with `head`; None for a form that no text is taken out of."""
    ending = PurePosixPath(filename.replace("\\", "/")).suffix.lower()
    if _PDF in head[:1024]:  # some have a few bytes in front; readers bear that
        return Kind.PDF
    if head.startswith(_ZIP):
        return Kind.DOCX if ending in _DOCX_NAMES else None
    if ending in _HTML_NAMES or head.lstrip()[:16].lower().startswith(_HTML_BEGINNINGS):
        return Kind.HTML
    return Kind.TEXT if head.startswith(_WIDE_MARKS) or b"\0" not in head else None

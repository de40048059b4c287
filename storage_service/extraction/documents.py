"""The text of PDF and DOCX files, by libraries that were not made for enemies: only in the child, under its limits."""

import zipfile
from collections.abc import Iterator
from typing import Any, BinaryIO

import mammoth
import pypdf
from pypdf.errors import PyPdfError

from storage_service.extraction.errors import InvalidFileError
from storage_service.extraction.html_text import html_to_text

_MAX_ENTRIES = 10_000
_MAX_UNPACKED_BYTES = 256 * 1024 * 1024


def pdf_pages(file: BinaryIO) -> Iterator[str]:
    """The text of each page of a PDF. Raises InvalidFileError: it is broken, or locked by a password."""
    try:
        reader = pypdf.PdfReader(file)
        if reader.is_encrypted and not reader.decrypt(""):
            raise InvalidFileError("The PDF is locked by a password.")
        for page in reader.pages:
            yield page.extract_text()
    except (PyPdfError, ValueError, KeyError, TypeError, AttributeError, IndexError, AssertionError, OSError) as error:
        # pypdf lets through whatever a broken file brings about.
        raise InvalidFileError("The PDF is broken and cannot be read.") from error


def docx_text(file: BinaryIO) -> str:
    """The text of a Word file. Raises InvalidFileError: it is none, or it unpacks to far more than texts have."""
    try:
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
            if len(entries) > _MAX_ENTRIES or sum(entry.file_size for entry in entries) > _MAX_UNPACKED_BYTES:
                raise InvalidFileError("The Word file unpacks to more than is read.")
        file.seek(0)
        # Pictures are not read; mammoth would carry them along as text.
        page = mammoth.convert_to_html(file, convert_image=mammoth.images.img_element(_no_picture)).value
    except InvalidFileError:
        raise
    except (MemoryError, RecursionError):
        raise
    except Exception as error:  # mammoth lets through whatever a broken file brings about
        raise InvalidFileError("The Word file is broken and cannot be read.") from error
    return html_to_text(page)


def _no_picture(image: Any) -> dict[str, str]:
    del image
    return {"src": ""}

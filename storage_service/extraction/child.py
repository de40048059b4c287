"""Reads one file and prints its text: `python -m storage_service.extraction.child <kind>`, the file as stdin.

A process of its own, because readers of PDF, DOCX and HTML can be made to compute for ever, to eat the memory or to
crash. Limits of time and memory are set before a byte is read, and it can write no file at all. Ends with 0, or with
`REFUSED` after a sentence that says why.
"""

import logging
import os
import resource
import sys
from collections.abc import Iterable
from typing import BinaryIO

from storage_service.extraction.decoding import decode
from storage_service.extraction.errors import InvalidFileError
from storage_service.extraction.html_text import html_to_text
from storage_service.extraction.kinds import MAX_TEXT_BYTES, Kind

REFUSED = 3
CPU_SECONDS = 60
MEMORY_BYTES = 1024 * 1024 * 1024
MAX_HTML_BYTES = 64 * 1024 * 1024
TOO_LONG = f"The file holds more than {MAX_TEXT_BYTES // 1024 // 1024} MiB of text."


def main(kind: str) -> None:
    """Print the text of the file on stdin."""
    _set_limits()
    logging.disable()  # what is said on stderr is the reason, and nothing else
    try:
        _print_text(Kind(kind), sys.stdin.buffer)
    except InvalidFileError as error:
        _refuse(str(error))
    except MemoryError:
        _refuse("Reading the file takes more memory than is allowed.")
    except RecursionError:
        _refuse("The file is nested too deep to be read.")


def _set_limits() -> None:
    for limit, most in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CPU, CPU_SECONDS),
        (resource.RLIMIT_AS, MEMORY_BYTES),
    ):
        resource.setrlimit(limit, (most, most))


def _print_text(kind: Kind, file: BinaryIO) -> None:
    if kind is Kind.HTML:
        data = file.read(MAX_HTML_BYTES + 1)
        if len(data) > MAX_HTML_BYTES:
            raise InvalidFileError("The page is larger than is read.")
        _write([html_to_text(decode(data))])
        return
    # Not before the limits are set, and not for pages.
    from storage_service.extraction import documents  # noqa: PLC0415

    _write(documents.pdf_pages(file) if kind is Kind.PDF else [documents.docx_text(file)])


def _write(texts: Iterable[str]) -> None:
    written = 0
    for text in texts:
        data = text.encode("utf-8", "replace") + b"\n"
        written += len(data)
        if written > MAX_TEXT_BYTES:
            raise InvalidFileError(TOO_LONG)
        sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def _refuse(message: str) -> None:
    sys.stderr.write(message)
    sys.stderr.flush()
    os._exit(REFUSED)  # at once: what lies half read may take long to be freed


if __name__ == "__main__":
    main(sys.argv[1])

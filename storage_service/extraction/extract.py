"""The text of an uploaded file: plain text here, every other form by a child process with limits (`child.py`)."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from storage_service.extraction import child
from storage_service.extraction.decoding import decode
from storage_service.extraction.errors import ExtractionError, InvalidFileError, UnsupportedFileError
from storage_service.extraction.kinds import HEAD_BYTES, MAX_TEXT_BYTES, Kind, kind_of

# Of the child, all in all; its own limit counts only what it computes.
WALL_SECONDS = 120.0
_TURN_SECONDS = 0.05
# Where the child finds this package, and nothing of the environment's.
_HOME = Path(child.__file__).parents[2]
_EMPTY = "The file could not be parsed because it holds no text."


class StoppedError(Exception):
    """The service is leaving; the file was not read to its end."""


def extract(fd: int, filename: str, is_stopping: Callable[[], bool]) -> str:
    """The text of an open file.

    Raises UnsupportedFileError, InvalidFileError: see there. ExtractionError: it is our fault. StoppedError.
    """
    head = os.pread(fd, HEAD_BYTES, 0)
    if not head:
        raise InvalidFileError("The file could not be parsed because it is empty.")
    kind = kind_of(filename, head)
    if kind is None:
        raise UnsupportedFileError("Text is taken out of PDF, DOCX, HTML, Markdown, plain text, code and JSON only.")
    text = _plain_text(fd) if kind is Kind.TEXT else _by_child(fd, kind, is_stopping)
    if not text.strip():
        raise InvalidFileError(_EMPTY)
    return text.replace("\r\n", "\n").replace("\0", "")


def _plain_text(fd: int) -> str:
    data = os.pread(fd, MAX_TEXT_BYTES + 1, 0)
    if len(data) > MAX_TEXT_BYTES:
        raise InvalidFileError(child.TOO_LONG)
    return decode(data)


def _by_child(fd: int, kind: Kind, is_stopping: Callable[[], bool]) -> str:
    os.lseek(fd, 0, os.SEEK_SET)
    process = subprocess.Popen(  # noqa: S603  our own program, no shell
        [sys.executable, "-P", "-s", "-m", child.__name__, kind.value],
        stdin=fd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={"LC_ALL": "C.UTF-8", "PYTHONPATH": str(_HOME)},
        start_new_session=True,
    )
    # communicate() empties both pipes; the child bounds what it says.
    said: list[tuple[bytes, bytes]] = []
    reader = threading.Thread(target=lambda: said.append(process.communicate()), name="text of a file")
    reader.start()
    try:
        _await(reader, is_stopping)
    finally:
        process.kill()
        reader.join()
    [(text, reason)] = said
    if process.returncode == 0:
        return text.decode("utf-8", "replace")
    if process.returncode == child.REFUSED:
        raise InvalidFileError(reason.decode("utf-8", "replace")[:500])
    if process.returncode < 0:  # by the limits, or by a crash of the reader
        raise InvalidFileError("Reading the file took longer or more memory than is allowed.")
    raise ExtractionError("The file could not be read.")


def _await(reader: threading.Thread, is_stopping: Callable[[], bool]) -> None:
    turns = int(WALL_SECONDS / _TURN_SECONDS)
    for _ in range(turns):
        reader.join(_TURN_SECONDS)
        if not reader.is_alive():
            return
        if is_stopping():
            raise StoppedError
    raise InvalidFileError(f"The file could not be read within {WALL_SECONDS:.0f} seconds.")

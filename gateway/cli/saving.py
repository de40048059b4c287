"""Files that the commands write: there under their name once they are whole and on the disk, and not before."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from gateway.cli.progress import bytes_bar
from gateway.cli.server import Server, ServerError

STDOUT = "-"
_PIECE_BYTES = 256 * 1024


async def save(server: Server, path: str, target: str) -> dict[str, str]:
    """Download to a file, or to standard output for `-`, with a bar; answers the headers. Raises ServerError."""
    async with server.download(path) as answer:
        total = answer.headers.get("X-Janroot-Total-Bytes", "")
        with saved(target) as file, bytes_bar("Saving", int(total) if total.isdigit() else None) as advance:
            async for data in answer.content.iter_chunked(_PIECE_BYTES):
                write(file, data)
                advance(len(data))
        return {**answer.headers}


def write(file: BinaryIO, data: bytes) -> None:
    """Add to a file. Raises ServerError: no room for it; BrokenPipeError: nobody reads any more."""
    try:
        file.write(data)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise ServerError(f"cannot write: {error.strerror}.") from None


@contextmanager
def saved(target: str) -> Iterator[BinaryIO]:
    """A file to write; what goes wrong leaves nothing of it. Raises ServerError: it cannot be made."""
    if target == STDOUT:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    path = Path(target).absolute()
    try:
        fd, name = tempfile.mkstemp(prefix=f".{path.name[:100]}.", suffix=".part", dir=path.parent)
    except OSError as error:
        raise ServerError(f"cannot write {target}: {error.strerror}.") from None
    temporary = Path(name)
    try:
        with os.fdopen(fd, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync(path.parent)
    except OSError as error:
        raise ServerError(f"cannot write {target}: {error.strerror}.") from None
    finally:
        temporary.unlink(missing_ok=True)


def say(target: str, sentence: str) -> None:
    """The closing line: not among the bytes when those go to standard output."""
    print(sentence, file=sys.stderr if target == STDOUT else sys.stdout)


def _sync(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)

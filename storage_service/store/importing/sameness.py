"""Whether what an archive holds is here already, byte for byte."""

import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

from storage_service.store.exports.owners import shared_lines
from storage_service.store.log import open_to_read


def is_same(here: Path, pieces: Iterator[bytes], *, may_go_on: bool = False) -> Generator[int, None, bool]:
    """Whether a file is here with these bytes, and no more unless it may go on. A link is not followed.

    Yields the number of bytes that it dealt with.
    """
    with opened(here) as fd:
        offset = 0
        for piece in pieces:
            if fd < 0 or os.pread(fd, len(piece), offset) != piece:
                return False
            offset += len(piece)
            yield len(piece)
        if may_go_on:
            return fd >= 0 or not offset
        return fd >= 0 and os.fstat(fd).st_size == offset


@contextmanager
def opened(path: Path) -> Iterator[int]:
    """A file opened for reading; -1 when there is none, or a link."""
    fd = open_to_read(path)
    try:
        yield fd
    finally:
        if fd >= 0:
            os.close(fd)


def are_shared_runs(here: Path, pieces: Iterator[bytes]) -> Generator[int, None, bool]:
    """Whether the runs that are here begin with these once nobody is named in them, as exports give them away."""
    with opened(here) as fd:
        ours = shared_lines(fd, os.fstat(fd).st_size) if fd >= 0 else iter(())
        known = b""
        for piece in pieces:
            while len(known) < len(piece) and (line := next(ours, None)) is not None:
                known += line
            if not known.startswith(piece):
                return False
            known = known[len(piece) :]
            yield len(piece)
        return True

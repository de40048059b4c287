"""The vectors of one file's chunks, in a file beside its text: a line of JSON, then a row of 32-bit floats for each.

Rows follow the chunks in their order, as far as they are embedded. They have length one, so that a product is a cosine;
one of NaNs alone stands for a chunk that the model does not take. Nothing in such a file is believed before it was
looked at: whatever else it holds counts as not embedded, and is written again.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from jan.errors import InvalidArgumentError
from storage_service.store import atomic, jsontext, log, signature
from storage_service.store.forms import fields
from storage_service.store.signature import Signature
from storage_service.store.vector_stores.records import Embedder

Rows = NDArray[np.float32]

MAX_DIMENSIONS = 4096
"""Of a vector; the largest embedding models there are have as many."""
_VERSION = 1
_FLOAT = np.dtype("<f4")
_MAX_HEADING_BYTES = 4096
_BLOCK_BYTES = 8 * 1024 * 1024
# What rounding to 32 bits may do to a length of one.
_TOLERANCE = 1e-3


@dataclass(frozen=True, slots=True)
class Heading:
    """What the vectors of a file are of. content: which text, cut how; see `index.content_of`."""

    embedder: Embedder
    dimensions: int
    content: str


@dataclass(frozen=True, slots=True)
class State:
    """What a file of vectors claims: its heading, where the rows begin, and how many there are."""

    heading: Heading
    start: int
    rows: int
    signature: Signature


def look(path: Path) -> State | None:
    """What a file claims; None when there is none that could be one."""
    with log.reading(path) as fd:
        if fd < 0:
            return None
        seen = signature.of_fd(fd)
        line, newline, _ = os.pread(fd, _MAX_HEADING_BYTES, 0).partition(b"\n")
        heading = _heading(line) if newline else None
        if heading is None:
            return None
        start = len(line) + 1
        return State(heading, start, (seen[1] - start) // (heading.dimensions * _FLOAT.itemsize), seen)


def blocks(path: Path, state: State, most: int) -> Iterator[Rows]:
    """The first rows of a file, at most so many, some megabytes at a time; ends before the first that is none."""
    width = state.heading.dimensions * _FLOAT.itemsize
    at_a_time = max(1, _BLOCK_BYTES // width)
    with log.reading(path) as fd:
        left = min(most, state.rows) if fd >= 0 and signature.of_fd(fd) == state.signature else 0
        offset = state.start
        while left > 0:
            data = os.pread(fd, min(left, at_a_time) * width, offset)
            rows = np.frombuffer(data[: len(data) // width * width], _FLOAT).reshape(-1, state.heading.dimensions)
            good = _good(rows)
            if good:
                yield rows[:good].astype(np.float32, copy=False)
            if good < min(left, at_a_time):
                return
            left -= good
            offset += good * width


def append(path: Path, heading: Heading, first: int, rows: Rows) -> bool:
    """Write rows behind the `first` that are there; False when there are not so many. Durable on return.

    With `first` 0 the file is made anew. Raises StorageFullError.
    """
    data = rows.astype(_FLOAT, copy=False).tobytes()
    if first == 0:
        atomic.replace(path, [_line(heading), data])
        return True
    state = look(path)
    if state is None or state.heading != heading or state.rows < first:
        return False
    atomic.write_at(path, state.start + first * heading.dimensions * _FLOAT.itemsize, data, sync=True)
    return True


def unit_rows(data: bytes, dimensions: int) -> Rows:
    """Vectors off the wire, made length one. Raises InvalidArgumentError: they are none, or no such vectors."""
    if not 1 <= dimensions <= MAX_DIMENSIONS:
        raise InvalidArgumentError(f"Vectors have 1 to {MAX_DIMENSIONS} dimensions.", param="dimensions")
    if not data or len(data) % (dimensions * _FLOAT.itemsize):
        raise InvalidArgumentError(f"These are no vectors of {dimensions} dimensions.", param="dimensions")
    rows = np.frombuffer(data, _FLOAT).reshape(-1, dimensions).astype(np.float64)
    refused = np.isnan(rows).all(axis=1)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    if not (np.isfinite(lengths[:, 0]) & (lengths[:, 0] > 0) | refused).all():
        raise InvalidArgumentError("A vector has numbers that are not finite, or zeros alone.")
    unit: Rows = (rows / lengths).astype(np.float32)
    return unit


def _good(rows: Rows) -> int:
    """How many rows from the first on are vectors of length one, or of NaNs alone."""
    lengths = np.sqrt(np.einsum("ij,ij->i", rows, rows, dtype=np.float64))
    bad = ~(np.abs(lengths - 1) < _TOLERANCE) & ~np.isnan(rows).all(axis=1)
    return int(np.argmax(bad)) if bad.any() else len(rows)


def _line(heading: Heading) -> bytes:
    said = {
        "version": _VERSION,
        "model": heading.embedder.model,
        "revision": heading.embedder.revision,
        "dimensions": heading.dimensions,
        "content": heading.content,
    }
    return jsontext.dumps(said)


def _heading(line: bytes) -> Heading | None:
    raw = jsontext.load_object(line) or {}
    dimensions = fields.integer(raw, "dimensions") or 0
    if fields.integer(raw, "version") != _VERSION or not 1 <= dimensions <= MAX_DIMENSIONS:
        return None
    embedder = Embedder(fields.text(raw, "model"), fields.text(raw, "revision"))
    return Heading(embedder, dimensions, fields.text(raw, "content"))

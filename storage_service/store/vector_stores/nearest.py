"""The chunks whose vectors are nearest to a query's, by looking at every one (docs/decisions/0038).

The vectors lie in files and are kept in memory as long as there is room; what has no room is read for each search.
"""

import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jan.ids import FileId
from storage_service.store import signature
from storage_service.store.vector_stores import vectors
from storage_service.store.vector_stores.records import Embedder
from storage_service.store.vector_stores.vectors import Heading, Rows, State

MEMORY_BYTES = 512 * 1024 * 1024
"""Of vectors in memory, over all stores: 100,000 of 1,024 numbers have room."""
# What is larger than this share of it would push out everybody else's.
_LARGEST_SHARE = 4


@dataclass(frozen=True, slots=True)
class Chunks:
    """The chunks of one file, and where their vectors would be."""

    file_id: FileId
    path: Path
    content: str
    count: int


@dataclass(frozen=True, slots=True)
class Near:
    """A chunk by its file and its place there. similarity: the cosine, -1 to 1."""

    file_id: FileId
    place: int
    similarity: float


class Vectors:
    """The vectors of all stores. Safe to use from several threads."""

    def __init__(self, memory_bytes: int = MEMORY_BYTES) -> None:
        self._memory_bytes = memory_bytes
        self._lock = threading.Lock()
        self._states: dict[Path, State] = {}
        self._rows: OrderedDict[Path, tuple[State, Rows]] = OrderedDict()
        self._bytes = 0

    def count(self, chunks: Chunks, embedder: Embedder, dimensions: int) -> int:
        """How many chunks of a file have such a vector of this model, from the first on. dimensions: 0 for any."""
        state = self._state(chunks)
        return min(state.rows, chunks.count) if state and _is_of(state.heading, chunks, embedder, dimensions) else 0

    def nearest(self, files: Iterable[Chunks], embedder: Embedder, query: Rows, most: int) -> list[Near]:
        """The chunks that are nearest to the query, the best first; equal ones in the order of the files.

        Only vectors of this model and with as many dimensions as the query count.
        """
        held: list[Chunks] = []
        scores: list[Rows] = []
        for chunks in files:
            state = self._state(chunks)
            if state and _is_of(state.heading, chunks, embedder, len(query)):
                held.append(chunks)
                scores.append(self._scores(chunks, state, query))
        return _best(held, scores, most)

    def forget(self, path: Path) -> None:
        """What lies there has changed."""
        with self._lock:
            self._states.pop(path, None)
            self._drop(path)

    def _state(self, chunks: Chunks) -> State | None:
        with self._lock:
            state = self._states.get(chunks.path)
        seen = signature.of_path(chunks.path)
        if state is not None and state.signature == seen:
            return state
        self.forget(chunks.path)
        state = vectors.look(chunks.path) if seen != signature.NOTHING else None
        if state is not None:
            with self._lock:
                self._states[chunks.path] = state
        return state

    def _scores(self, chunks: Chunks, state: State, query: Rows) -> Rows:
        with self._lock:
            known = self._rows.get(chunks.path)
            if known is not None and known[0] == state:
                self._rows.move_to_end(chunks.path)
                return known[1][: chunks.count] @ query
        wanted = min(state.rows, chunks.count)
        size = wanted * state.heading.dimensions * query.itemsize
        read = vectors.blocks(chunks.path, state, wanted)
        if size * _LARGEST_SHARE > self._memory_bytes:
            return _joined([block @ query for block in read])
        rows = _joined([*read], state.heading.dimensions)
        self._check(chunks.path, state, wanted, len(rows))
        self._keep(chunks.path, state, rows)
        return rows @ query

    def _check(self, path: Path, state: State, wanted: int, found: int) -> None:
        """A file that holds fewer vectors than it claims is to be filled up again."""
        if found < wanted:
            with self._lock:
                self._states[path] = State(state.heading, state.start, found, state.signature)

    def _keep(self, path: Path, state: State, rows: Rows) -> None:
        with self._lock:
            self._drop(path)
            self._rows[path] = self._states.get(path, state), rows
            self._bytes += rows.nbytes
            while self._bytes > self._memory_bytes:
                self._drop(next(iter(self._rows)))

    def _drop(self, path: Path) -> None:
        _, rows = self._rows.pop(path, (None, None))
        self._bytes -= 0 if rows is None else rows.nbytes


def _is_of(heading: Heading, chunks: Chunks, embedder: Embedder, dimensions: int) -> bool:
    same = heading.embedder == embedder and heading.content == chunks.content
    return same and dimensions in (0, heading.dimensions)


def _joined(parts: Sequence[Rows], dimensions: int = 0) -> Rows:
    if len(parts) == 1:
        return parts[0]
    nothing: Rows = np.empty((0, dimensions) if dimensions else 0, np.float32)
    return np.concatenate(parts) if parts else nothing


def _best(files: Sequence[Chunks], scores: Sequence[Rows], most: int) -> list[Near]:
    if not files:
        return []
    every = np.concatenate(scores)
    every = np.where(np.isnan(every), -np.inf, every)
    if len(every) > most:
        # All that equal the last one stay, so that equal ones are told in their order and not in any.
        least = np.partition(every, -most)[-most]
        kept = np.flatnonzero(every >= least)
    else:
        kept = np.arange(len(every))
    kept = kept[np.argsort(-every[kept], kind="stable")][:most]
    ends = np.cumsum([len(each) for each in scores])
    owners = np.searchsorted(ends, kept, side="right")
    return [
        Near(files[owner].file_id, int(place - ends[owner] + len(scores[owner])), float(every[place]))
        for place, owner in zip(kept, owners, strict=True)
        if np.isfinite(every[place])
    ]

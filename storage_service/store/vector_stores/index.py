"""The index of one vector store: an SQLite file of chunks with FTS5, made again from the texts whenever in doubt.

A chunk's score is its BM25 divided by the most that any chunk could reach for this query, so it lies between 0 and 1
in every store: 1 would be a chunk that is nothing but the words asked for. FTS5's own weight of a word becomes zero
when half of the chunks hold it, which in a store of three chunks is nearly every word; so each word is asked for by
itself, and weighed as Lucene does.
"""

import hashlib
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jan.ids import FileId
from storage_service.store import index_file
from storage_service.store.vector_stores import chunks, words
from storage_service.store.vector_stores.records import Chunking

_VERSION = 2
_CACHE_KIB = 8 * 1024
_PATIENCE_SECONDS = 5.0
# FTS5's BM25 (sqlite.org/fts5.html, 5.1.1): k1 is 1.2, so one word counts at most k1 + 1 times its weight; and a
# weight is never below this.
_MOST_OF_A_WORD = 2.2
_LEAST_FTS5_WEIGHT = 1e-6

_SCHEMA = f"""
CREATE TABLE files (key INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, digest TEXT NOT NULL, content TEXT NOT NULL,
    chunks INTEGER NOT NULL DEFAULT 0);
CREATE TABLE chunks (key INTEGER PRIMARY KEY, file INTEGER NOT NULL, start INTEGER NOT NULL, stop INTEGER NOT NULL);
CREATE INDEX chunks_of_files ON chunks (file);
CREATE VIRTUAL TABLE words USING fts5 (text, tokenize = '{words.TOKENIZER}');
PRAGMA user_version = {_VERSION};
"""


@dataclass(frozen=True, slots=True)
class Hit:
    """A chunk that matches: bytes of a file's text, and how well."""

    file_id: FileId
    start: int
    stop: int
    score: float


class ChunkIndex:
    """One open index, for one thread at a time. Changes are kept by `commit`.

    Raises sqlite3.Error: see `index_file.remove`.
    """

    def __init__(self, path: Path) -> None:
        self._db = index_file.open_index(
            path, _SCHEMA, _VERSION, cache_kib=_CACHE_KIB, patience_seconds=_PATIENCE_SECONDS
        )
        self._db.execute("PRAGMA temp_store = MEMORY")

    def close(self) -> None:
        """Let go of the file; what was not committed is lost."""
        self._db.close()

    def commit(self) -> None:
        """Keep the changes made since the last time."""
        index_file.commit(self._db)

    def digests(self) -> dict[str, str]:
        """What every file's part was made from."""
        return dict(self._db.execute("SELECT id, digest FROM files"))

    def put(self, file_id: FileId, digest: str, text: str, chunking: Chunking) -> None:
        """Make a file's part from its text."""
        self.drop(file_id)
        row = (file_id, digest, content_of(text, chunking))
        key = self._db.execute("INSERT INTO files (id, digest, content) VALUES (?, ?, ?)", row).lastrowid
        starts, stops = _Bytes(text), _Bytes(text)
        for start, stop in chunks.spans(text, chunking):
            place = (key, starts.up_to(start), stops.up_to(stop))
            chunk = self._db.execute("INSERT INTO chunks (file, start, stop) VALUES (?, ?, ?)", place)
            told = (chunk.lastrowid, words.set_apart(text[start:stop]))
            self._db.execute("INSERT INTO words (rowid, text) VALUES (?, ?)", told)
        counted = "UPDATE files SET chunks = (SELECT count(*) FROM chunks WHERE file = files.key) WHERE key = ?"
        self._db.execute(counted, (key,))

    def contents(self) -> dict[str, tuple[str, int]]:
        """For every file, which text was cut how (see `content_of`), and into how many chunks."""
        rows = self._db.execute("SELECT id, content, chunks FROM files")
        return {file_id: (content, count) for file_id, content, count in rows}

    def spans(self, file_id: str, first: int, count: int) -> list[tuple[int, int]]:
        """Where chunks of a file begin and end, in bytes, by their place among them."""
        rows = self._db.execute(
            "SELECT start, stop FROM chunks JOIN files ON files.key = chunks.file WHERE files.id = ? "
            "ORDER BY chunks.key LIMIT ? OFFSET ?",
            (file_id, count, first),
        )
        return [(start, stop) for start, stop in rows]

    def drop(self, file_id: str) -> None:
        """Forget a file; an unknown one is no error."""
        index_file.begin(self._db)
        of_file = "SELECT chunks.key FROM chunks JOIN files ON files.key = chunks.file WHERE files.id = ?"
        keys = self._db.execute(of_file, (file_id,)).fetchall()
        self._db.executemany("DELETE FROM words WHERE rowid = ?", keys)
        self._db.executemany("DELETE FROM chunks WHERE key = ?", keys)
        self._db.execute("DELETE FROM files WHERE id = ?", (file_id,))

    def search(self, query: str, files: Collection[FileId], limit: int) -> list[Hit]:
        """The chunks of these files that hold any word of the query, the best first."""
        weights = self._weights(words.terms(query))
        if not any(count for count, _, _ in weights.values()) or not files:
            return []
        most = sum(weight for _, weight, _ in weights.values()) * _MOST_OF_A_WORD
        present = {term: weight / fts5 / most for term, (count, weight, fts5) in weights.items() if count}
        one_word = "SELECT rowid AS chunk, -bm25(words) * ? AS score FROM words WHERE words MATCH ?"
        self._choose(files)
        rows = self._db.execute(
            f"""
            WITH found AS MATERIALIZED ({" UNION ALL ".join([one_word] * len(present))})
            SELECT files.id, chunks.start, chunks.stop, SUM(score) AS total FROM found
            JOIN chunks ON chunks.key = chunk JOIN files ON files.key = chunks.file
            WHERE files.id IN (SELECT id FROM temp.chosen)
            GROUP BY chunk ORDER BY total DESC, chunk LIMIT ?
            """,  # noqa: S608  nothing of the query is in the statement
            [*(value for term, factor in present.items() for value in (factor, term)), limit],
        )
        return [Hit(FileId(file_id), start, stop, min(score, 1.0)) for file_id, start, stop, score in rows]

    def _weights(self, terms: Sequence[str]) -> Mapping[str, tuple[int, float, float]]:
        """For each term: how many chunks hold it, its weight, and FTS5's own."""
        [total] = self._db.execute("SELECT count(*) FROM chunks").fetchone()
        found = {}
        for term in terms:
            [count] = self._db.execute("SELECT count(*) FROM words WHERE words MATCH ?", (term,)).fetchone()
            odds = (total - count + 0.5) / (count + 0.5)
            found[term] = count, math.log1p(odds), max(math.log(odds), _LEAST_FTS5_WEIGHT)
        return found

    def _choose(self, files: Collection[FileId]) -> None:
        self._db.execute("CREATE TEMP TABLE IF NOT EXISTS chosen (id TEXT PRIMARY KEY)")
        self._db.execute("DELETE FROM temp.chosen")
        self._db.executemany("INSERT INTO temp.chosen VALUES (?)", [(file_id,) for file_id in files])


def content_of(text: str, chunking: Chunking) -> str:
    """Tells texts and ways to cut them apart, on any machine."""
    cut = f"{chunks.VERSION} {chunking.max_tokens} {chunking.overlap_tokens}\n"
    return hashlib.sha256(cut.encode() + text.encode("utf-8", "surrogatepass")).hexdigest()


class _Bytes:
    """Counts the bytes of a text up to places that only grow."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._place = self._bytes = 0

    def up_to(self, place: int) -> int:
        self._bytes += len(self._text[self._place : place].encode())
        self._place = place
        return self._bytes

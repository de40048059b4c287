"""Full-text search over all messages: an FTS5 index beside the files, made again whenever it cannot be trusted.

The index holds for each thread the digest of the messages.jsonl that it was made from (see `signature`), so whatever
happened to a file while nobody listened shows as another digest.
"""

import re
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from jan.ids import MessageId, ThreadId
from jan.telemetry import get_logger
from storage_service.store import index_file, jsonl, log, signature
from storage_service.store.forms import messages as form
from storage_service.store.index_file import open_index, open_to_read
from storage_service.store.records import Appended

logger = get_logger(__name__)

# Of one message; a pasted book is found by its beginning.
MAX_TEXT = 64 * 1024
_MAX_WORDS = 16
# How many matches are ranked, the newest ones. Ranking a word that half of a million messages hold takes half a second
# when all are ranked, and 15 ms when 2,000 are (measured on 2 cores, SQLite 3.40).
_RANKED = 2_000
_SNIPPET_WORDS = 16
_CACHE_KIB = 16 * 1024
_VERSION = 1
_PATIENCE_SECONDS = 1.0

_SCHEMA = f"""
CREATE TABLE threads (key INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, digest INTEGER NOT NULL);
CREATE TABLE messages (key INTEGER PRIMARY KEY, thread INTEGER NOT NULL, id TEXT NOT NULL, crc INTEGER NOT NULL);
CREATE UNIQUE INDEX message_places ON messages (thread, id);
CREATE VIRTUAL TABLE words USING fts5 (text, tokenize = 'unicode61 remove_diacritics 2');
PRAGMA user_version = {_VERSION};
"""

# What the tokenizer takes for a word; the rest of a query separates words and can never be FTS5's syntax.
_WORD = re.compile(r"[^\W_]{1,64}")


@dataclass(frozen=True, slots=True)
class Hit:
    """A thread that matches, with the message that does best and the stretch of it that does."""

    thread_id: ThreadId
    message_id: MessageId
    snippet: str


class SearchIndex:
    """The index in one SQLite file, for one thread of the process. Changes are kept by `commit`.

    Raises sqlite3.Error from every method: see `index_file.remove`.
    """

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self._db = (
            open_to_read(path, cache_kib=_CACHE_KIB, patience_seconds=_PATIENCE_SECONDS)
            if read_only
            else open_index(path, _SCHEMA, _VERSION, cache_kib=_CACHE_KIB, patience_seconds=_PATIENCE_SECONDS)
        )

    def close(self) -> None:
        """Let go of the file; what was not committed is lost."""
        self._db.close()

    def commit(self) -> None:
        """Keep the changes made since the last time."""
        index_file.commit(self._db)

    def digests(self) -> dict[str, int]:
        """What every thread's part was made from."""
        return dict(self._db.execute("SELECT id, digest FROM threads"))

    def append(self, thread_id: ThreadId, appended: Appended) -> bool:
        """Take in messages as they were written; False when the index does not hold what was there before them."""
        index_file.begin(self._db)
        row = self._db.execute("SELECT key, digest FROM threads WHERE id = ?", (thread_id,)).fetchone()
        if (row[1] if row else 0) != appended.before:
            return False
        key = row[0] if row else self._add_thread(thread_id)
        for message in appended.messages:
            self._add(key, message.id, form.text_of(message.content)[:MAX_TEXT])
        self._db.execute("UPDATE threads SET digest = ? WHERE key = ?", (appended.after, key))
        return True

    def update(self, thread_id: ThreadId, file: Path) -> None:
        """Make a thread's part what its file says now; only what differs is written."""
        index_file.begin(self._db)
        with log.reading(file) as fd:
            seen = signature.of_fd(fd)
            row = self._db.execute("SELECT key, digest FROM threads WHERE id = ?", (thread_id,)).fetchone()
            if (row[1] if row else 0) == signature.digest(seen):
                return
            texts = _texts(fd)
        key = row[0] if row else self._add_thread(thread_id)
        known = self._db.execute("SELECT id, key, crc FROM messages WHERE thread = ?", (key,)).fetchall()
        keep = {message_id for message_id, _, crc in known if _crc(texts.get(message_id)) == crc}
        self._remove(message for message_id, message, _ in known if message_id not in keep)
        for message_id, text in texts.items():
            if message_id not in keep:
                self._add(key, message_id, text)
        if seen == signature.NOTHING:
            self._db.execute("DELETE FROM threads WHERE key = ?", (key,))
        else:
            self._db.execute("UPDATE threads SET digest = ? WHERE key = ?", (signature.digest(seen), key))

    def search(self, query: str) -> list[Hit]:
        """The threads that hold a message with all words of the query, the best first, without snippets.

        The newest 2,000 messages that match are ranked (BM25). A query without a word matches nothing.
        """
        expression = _expression(query)
        if not expression:
            return []
        rows = self._db.execute(
            """
            SELECT threads.id, messages.id
            FROM (
                SELECT rowid AS found, bm25(words) AS score FROM words WHERE words MATCH ? ORDER BY rowid DESC LIMIT ?
            )
            JOIN messages ON messages.key = found JOIN threads ON threads.key = messages.thread
            ORDER BY score, found DESC
            """,
            (expression, _RANKED),
        )
        best: dict[str, str] = {}
        for thread_id, message_id in rows:
            best.setdefault(thread_id, message_id)
        return [Hit(ThreadId(thread_id), MessageId(message_id), "") for thread_id, message_id in best.items()]

    def snippet(self, query: str, hit: Hit) -> str:
        """The stretch of a hit's message that matches; empty when it went meanwhile."""
        row = self._db.execute(
            """
            SELECT snippet(words, 0, '', '', '…', ?) FROM words WHERE words MATCH ? AND rowid =
            (SELECT messages.key FROM messages JOIN threads ON threads.key = messages.thread
             WHERE threads.id = ? AND messages.id = ?)
            """,
            (_SNIPPET_WORDS, _expression(query), hit.thread_id, hit.message_id),
        ).fetchone()
        return str(row[0]) if row else ""

    def _add_thread(self, thread_id: ThreadId) -> int:
        return self._db.execute("INSERT INTO threads (id, digest) VALUES (?, 0)", (thread_id,)).lastrowid or 0

    def _add(self, thread: int, message_id: str, text: str) -> None:
        row = (thread, message_id, _crc(text))
        added = self._db.execute("INSERT INTO messages (thread, id, crc) VALUES (?, ?, ?) ON CONFLICT DO NOTHING", row)
        if added.rowcount == 1:  # Else the file was read after this message had been written to it.
            self._db.execute("INSERT INTO words (rowid, text) VALUES (?, ?)", (added.lastrowid, text))

    def _remove(self, messages: Iterable[int]) -> None:
        keys = [(key,) for key in messages]
        self._db.executemany("DELETE FROM words WHERE rowid = ?", keys)
        self._db.executemany("DELETE FROM messages WHERE key = ?", keys)


def stale(known: Mapping[str, int], files: Mapping[ThreadId, int]) -> list[ThreadId]:
    """The threads whose part of an index was not made from the file that is there (digest 0: none is)."""
    gone = [ThreadId(thread_id) for thread_id in known.keys() - files.keys()]
    return gone + [thread_id for thread_id, digest in files.items() if known.get(thread_id, 0) != digest]


def _expression(query: str) -> str:
    return " ".join(f'"{word}"' for word in _WORD.findall(query)[:_MAX_WORDS])


def _texts(fd: int) -> dict[str, str]:
    """The text of each message in a file, the later line of an id counting."""
    texts: dict[str, str] = {}
    for segment in jsonl.segments(fd) if fd >= 0 else ():
        message_id = form.id_of(segment.value) if segment.value else None
        if segment.value and message_id is not None:
            texts[message_id] = form.text_of_line(segment.value)[:MAX_TEXT]
    return texts


def _crc(text: str | None) -> int:
    return -1 if text is None else zlib.crc32(text.encode("utf-8", "surrogatepass"))

"""The SQLite files of indexes, which are made again whenever they cannot be trusted."""

import sqlite3
from pathlib import Path

_PASSING = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_IOERR}


def open_index(path: Path, schema: str, version: int, *, cache_kib: int, patience_seconds: float) -> sqlite3.Connection:
    """Open an index, for one thread at a time, and make its tables in a new file. schema: it sets `user_version`.

    patience_seconds: how long to wait for others who write. Raises sqlite3.Error: see `remove` and `is_passing`.
    """
    db = _connect(path, cache_kib, patience_seconds)
    try:
        # A power cut may lose the last changes, which the digests tell, but leaves the file whole.
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")
        [found] = db.execute("PRAGMA user_version").fetchone()
        if found == 0:
            db.executescript(schema)
        elif found != version:
            raise sqlite3.DatabaseError(f"version {found}, not {version}")
    except sqlite3.Error:
        db.close()
        raise
    return db


def open_to_read(path: Path, *, cache_kib: int, patience_seconds: float) -> sqlite3.Connection:
    """Open an index that somebody else writes. Raises sqlite3.Error."""
    db = _connect(path, cache_kib, patience_seconds)
    db.execute("PRAGMA query_only = 1")
    return db


def begin(db: sqlite3.Connection) -> None:
    """Keep changes together, from here to the next `commit`."""
    if not db.in_transaction:
        db.execute("BEGIN")


def commit(db: sqlite3.Connection) -> None:
    """Keep the changes made since the last time."""
    if db.in_transaction:
        db.execute("COMMIT")


def remove(path: Path) -> None:
    """Throw an index away, with what SQLite keeps beside it."""
    for name in (path.name, f"{path.name}-wal", f"{path.name}-shm"):
        path.with_name(name).unlink(missing_ok=True)


def is_passing(error: sqlite3.Error) -> bool:
    """Whether an error says nothing against the index: the disk is full or failing, somebody else reads."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _PASSING


def _connect(path: Path, cache_kib: int, patience_seconds: float) -> sqlite3.Connection:
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=patience_seconds)
    db.execute(f"PRAGMA cache_size = -{cache_kib}")
    return db

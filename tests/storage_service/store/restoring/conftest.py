"""Janroots to keep and to compare, and backups as the service makes them."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage_service.store.exports import janroot as janroot_export
from storage_service.store.exports.alone import at_once
from storage_service.store.exports.janroot import Survey
from storage_service.store.exports.rules import Kind, Rules
from storage_service.store.layout import Layout
from storage_service.store.store import Store
from tests.fixtures.jan_files import put

# Folders that stay where they are while what is in them is swapped, and so have a time of their own.
STAY = (".server/trash", ".server/quarantine", ".server/converted", "models")
OWN = (".server/lock", ".server/index", ".server/staging", ".server/restoring", ".server/pulls", ".server/uploads")


def back_up(janroot: Path, *, weights: bool = False) -> bytes:
    """A backup of a janroot that nobody else uses."""
    where, rules = Layout(janroot), Rules(Kind.BACKUP, weights=weights)
    survey = Survey(where, rules)
    list(survey.steps())
    about = janroot_export.manifest(rules, survey.summary, 2, 1_704_504_633_000)
    return b"".join(janroot_export.pieces(where, rules, about, at_once, 1_704_504_633_000))


def tree(root: Path, without: str = "\0") -> dict[str, tuple[object, ...]]:
    """All that lies below a folder but the process's own: kind, bytes, mode, and time of modification to 100 ns."""
    found: dict[str, tuple[object, ...]] = {}
    for path in root.rglob("*"):
        name = str(path.relative_to(root))
        if name.startswith(OWN) or without in name or name == ".server":
            continue
        status = path.lstat()
        times = status.st_mtime_ns // 100 if name not in STAY else 0
        if path.is_symlink():
            found[name] = ("link", path.readlink())
        elif path.is_dir():
            found[name] = ("folder", status.st_mode, times)
        else:
            found[name] = ("file", status.st_mode, times, path.read_bytes())
    return found


def deleted_in(word: str) -> str:
    """The trash entry that `fill` makes."""
    return f"thread-1704504633000-{zlib.crc32(word.encode()):08x}"


def fill(janroot: Path, word: str) -> None:
    """A janroot with one of everything, told apart from others by a word."""
    put(janroot / f"threads/{word}_1704504633/thread.json", {"title": word})
    put(janroot / f"threads/{word}_1704504633/messages.jsonl", '{"id":"m","role":"user","content":"' + word + '"}\n')
    put(janroot / f"threads/{word}_1704504633/files/m.png", b"\x89PNG" * 100_000)
    put(janroot / "threads/same_1704504633/thread.json", {"title": word})
    put(janroot / f"vector_stores/vs_{word}/vector_store.json", {"name": word})
    put(janroot / f"vector_stores/vs_{word}/files/file-{word}.txt", word)
    put(janroot / "threads/jan_1700120003.json", {"messages": [], "metadata": {"summary": word}})
    put(janroot / "assistants/jan/assistant.json", {"id": "jan", "name": word})
    put(janroot / "models/demo/model.json", {"id": "demo", "name": word})
    put(janroot / f"models/{word}/model.json", {"id": word})
    put(janroot / "models/demo/demo.gguf", b"GGUF" + word.encode())
    put(janroot / "engines/openai.json", {"api_key": word})
    put(janroot / f".server/trash/{deleted_in(word)}/{word}_1/thread.json", {"title": word})
    put(janroot / f".server/quarantine/{word}", word)
    put(janroot / f".server/converted/{word}.json", "{}")
    put(janroot / "files" / f"{word}\\back", word)
    put(janroot / "files" / os.fsdecode(b"caf\xe9"), word)
    put(janroot / "Threads/Same", word)
    put(janroot / "Threads/same", word)
    (janroot / f"themes/{word}").mkdir(parents=True)
    (janroot / f"threads/{word}_1704504633/thread.json").chmod(0o600)
    (janroot / f"themes/{word}").chmod(0o700)
    for number, path in enumerate(sorted(janroot.rglob("*"), reverse=True)):
        os.utime(path, ns=(0, 1_600_000_000_123_456_700 + number * 10**9))


@pytest.fixture
def janroot(tmp_path: Path) -> Path:
    """One that is kept, called old."""
    fill(tmp_path / "janroot", "old")
    return tmp_path / "janroot"


@pytest.fixture
def newer(tmp_path: Path) -> Iterator[Store]:
    """A janroot in use, called new."""
    fill(tmp_path / "newer", "new")
    store = Store.open(tmp_path / "newer")
    yield store
    store.close()

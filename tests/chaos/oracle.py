"""Reads a janroot with `json` and plain reading alone, as any stranger's program would, and says what lies there.

Nothing of the storage service is used here: a mistake of its reader must not hide a mistake of its writer. Objects are
known by names that the workloads choose: a thread by the first word of its title, an upload by its file name.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.chaos.history import State

UNREADABLE = "unreadable file"
DUPLICATE = "duplicate id"
HALF_THREAD = "half a thread"
OUTSIDE = "outside the janroot"
ORDER = "times in order"

_COLLECTIONS = {"threads", "assistants", "models", "files", "completions", "batches", "vector_stores", ".server"}
_SERVER = {"lock", "staging", "trash", "index", "quarantine", "converted", "pulls", "uploads"}
_THREAD = {"thread.json", "messages.jsonl", "runs.jsonl", "files"}
_TEMPORARY = re.compile(r"\.(thread\.json|messages\.jsonl|runs\.jsonl|assistant\.json|file-[0-9a-f]{24}\.json)\.tmp")
_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*")


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that must not be: the name of the promise that it breaks, and what was seen."""

    check: str
    told: str

    def __str__(self) -> str:
        return f"{self.check}: {self.told}"


@dataclass(slots=True)
class Seen:
    """What lies in a janroot. `names` are the folders' of threads, by their keys.

    `torn` are files that end in half a line; `empty` are folders that only hold a name.
    """

    objects: dict[str, State] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    torn: list[Path] = field(default_factory=list)
    empty: list[Path] = field(default_factory=list)

    def complain(self, check: str, told: object) -> None:
        """Something is not as it must be."""
        self.findings.append(Finding(check, str(told)))

    def add(self, key: str, state: dict[str, Any], where: Path) -> None:
        """An object was found; each may lie in one place only."""
        if key in self.objects:
            self.complain(DUPLICATE, f"{key} once more in {where}")
        self.objects[key] = state
        self.names[key] = where.stem if where.suffix == ".json" else where.name


def read(janroot: Path) -> Seen:
    """Everything in a janroot that nobody writes to now."""
    seen = Seen()
    _read_neighbours(seen, janroot)
    folders: dict[str, dict[str, Any]] = {}
    for folder in _entries(janroot / "threads"):
        _read_thread(seen, folder, "threads", folders)
    deleted = [(entry.name, item) for entry in _entries(janroot / ".server/trash") for item in _entries(entry)]
    for name, item in deleted:
        if name.startswith("thread"):
            _read_thread(seen, item, "trash", folders)
        elif name.startswith("assistant-"):
            _read_assistant(seen, item, "trash")
    for name, item in deleted:
        if name.startswith("messages-"):
            _read_cleared(seen, item, folders)
    for state in folders.values():
        state["cleared"] = in_order(state["cleared"])
    for folder in _entries(janroot / "assistants"):
        _read_assistant(seen, folder, "assistants")
    _read_uploads(seen, janroot)
    for path in _entries(janroot / "completions"):
        _load(seen, path)
    return seen


def in_order(cleared: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What was cleared, in an order that no clock decides."""
    return sorted(cleared, key=json.dumps)


def _read_neighbours(seen: Seen, janroot: Path) -> None:
    for name, allowed in ((".", _COLLECTIONS), (".server", _SERVER)):
        for path in _entries(janroot / name):
            if path.name not in allowed:
                seen.complain(OUTSIDE, path)
    for path in _entries(janroot.parent):
        if path != janroot and not path.name.startswith("harness"):
            seen.complain(OUTSIDE, path)


def _read_thread(seen: Seen, folder: Path, place: str, folders: dict[str, dict[str, Any]]) -> None:
    if folder.suffix == ".json" and folder.is_file():
        if not folder.with_suffix("").is_dir():
            _read_flat(seen, folder)
        return
    names = {path.name for path in folder.iterdir()}
    unknown = {name for name in names - _THREAD if not _TEMPORARY.fullmatch(name)}
    if unknown or not _NAME.fullmatch(folder.name):
        seen.complain(OUTSIDE, f"{folder} {sorted(unknown)}")
    if not names:
        seen.empty.append(folder)
        return
    raw = _load(seen, folder / "thread.json")
    if raw is None or raw.get("id") != folder.name:
        seen.complain(HALF_THREAD, f"{folder} has {sorted(names)} and the thread {raw and raw.get('id')}")
        return
    state = {"place": place, "title": raw["title"], **_contents(seen, folder), "cleared": []}
    folders[folder.name] = state
    seen.add(raw["title"].split()[0], state, folder)


def _read_cleared(seen: Seen, folder: Path, folders: dict[str, dict[str, Any]]) -> None:
    if folder.name not in folders:
        seen.complain(HALF_THREAD, f"{folder} was cleared, and there is no such thread")
    elif _entries(folder):
        folders[folder.name]["cleared"].append(_contents(seen, folder))


def _contents(seen: Seen, folder: Path) -> dict[str, Any]:
    messages = list(_lines(seen, folder / "messages.jsonl"))
    ids = [line.get("id") for line in messages]
    if len(set(ids)) < len(ids):
        seen.complain(DUPLICATE, f"{folder} has messages {ids}")
    made = [line.get("created", 0) for line in messages]
    if made != sorted(made):
        seen.complain(ORDER, f"{folder} has messages of {made}")
    runs = {line["id"]: line["status"] for line in _lines(seen, folder / "runs.jsonl")}
    files = [[path.name, _digest(path)] for path in _entries(folder / "files")]
    return {"messages": [_said(line) for line in messages], "runs": [[*item] for item in runs.items()], "files": files}


def _read_flat(seen: Seen, path: Path) -> None:
    """A thread of 2023, messages inside."""
    raw = _load(seen, path)
    if raw is not None:
        messages = [_said(message) for message in raw["messages"]]
        state = {"place": "threads", "title": raw["title"], "messages": messages}
        seen.add(raw["title"].split()[0], state | {"runs": [], "files": [], "cleared": []}, path)


def _said(line: dict[str, Any]) -> list[str]:
    content = line["content"]
    text = content if isinstance(content, str) else content[0]["text"]["value"]
    return [line["id"], text, line.get("metadata", {}).get("edit", "")]


def _read_assistant(seen: Seen, folder: Path, place: str) -> None:
    raw = _load(seen, folder / "assistant.json")
    if raw is None:
        seen.empty.append(folder)
    elif folder.name != "jan":
        seen.add(f"assistant {folder.name}", {"place": place, "name": raw["name"]}, folder)


def _read_uploads(seen: Seen, janroot: Path) -> None:
    """An upload is there when its bytes are; a description without them is what a crash may leave until a start."""
    for path in _entries(janroot / "files"):
        if path.suffix == "":
            raw = _load(seen, path.with_suffix(".json"))
            if raw is None:
                seen.complain(UNREADABLE, f"{path} has no description")
            else:
                seen.add(f"upload {raw['filename']}", {"bytes": raw["bytes"], "digest": _digest(path)}, path)


def _lines(seen: Seen, path: Path) -> Iterator[dict[str, Any]]:
    """The objects of a file, a line each; half a line at the end is told apart from a bad one before it."""
    if not path.is_file():
        return
    *lines, tail = path.read_bytes().split(b"\n")
    if tail:
        seen.torn.append(path)
    for line in lines:
        value = _loads(line)
        if value is None:
            seen.complain(UNREADABLE, f"{path} has the line {line[:200]!r}")
        else:
            yield value


def _load(seen: Seen, path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    value = _loads(path.read_bytes())
    if value is None:
        seen.complain(UNREADABLE, f"{path} holds {path.read_bytes()[:200]!r}")
    return value


def _loads(data: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(data)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except FileNotFoundError:
        return []

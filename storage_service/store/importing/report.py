"""What an import did, or would do: counts that are exact, and lists that are long enough to work with."""

from collections import Counter
from dataclasses import dataclass, field

# Of each list; a report of 100,000 threads would be longer than most of their messages.
MOST_TOLD = 1_000

KEPT = "kept"
REMAPPED = "remapped"
ALREADY_HERE = "already_here"
QUARANTINED = "quarantined"
REFUSED = "refused"
REDACTED = "redacted"
NOTES = "notes"
LISTS = (KEPT, REMAPPED, ALREADY_HERE, QUARANTINED, REFUSED, REDACTED, NOTES)

Item = dict[str, str]


@dataclass(slots=True)
class Report:
    """What became of everything in an archive.

    kind: what the archive is. counts: of every list, and how many threads, messages, assistants, models, files, vector
    stores, completions and batches are new here. quarantine: the folder below the janroot that took what has no other
    place; empty when nothing did.
    """

    dry_run: bool
    kind: str = ""
    quarantine: str = ""
    counts: Counter[str] = field(default_factory=Counter)
    lists: dict[str, list[Item]] = field(default_factory=lambda: {name: [] for name in LISTS})

    def kept(self, kind: str, name: str) -> None:
        """Something came in under the name it had."""
        self._tell(KEPT, {"kind": kind, "id": name})

    def remapped(self, kind: str, old: str, new: str) -> None:
        """Something came in under another name."""
        self._tell(REMAPPED, {"kind": kind, "from": old, "to": new})

    def already_here(self, kind: str, old: str, name: str) -> None:
        """Something is here already, as `name`; nothing was done."""
        self._tell(ALREADY_HERE, {"kind": kind, "id": name} | ({"from": old} if old != name else {}))

    def quarantined(self, path: str, reason: str) -> None:
        """A file was put where a person may look at it."""
        self._tell(QUARANTINED, {"path": path, "reason": reason})

    def refused(self, path: str, reason: str) -> None:
        """A file, or a folder with all in it, was left out."""
        self._tell(REFUSED, {"path": path, "reason": reason})

    def redacted(self, path: str, key: str) -> None:
        """A key was blanked in the copy of a file."""
        self._tell(REDACTED, {"path": path, "key": key})

    def noted(self, name: str, code: str, reason: str) -> None:
        """A thread does not show something of what it was made of; that lies in its folder."""
        self._tell(NOTES, {"kind": "thread", "id": name, "code": code, "reason": reason})

    def came_in(self, kind: str, old: str, new: str) -> None:
        """Something is new here, under the name it had or another."""
        self.counts["batches" if kind == "batch" else f"{kind}s"] += 1
        if old == new:
            self.kept(kind, new)
        else:
            self.remapped(kind, old, new)

    def _tell(self, name: str, item: Item) -> None:
        self.counts[name] += 1
        if len(self.lists[name]) < MOST_TOLD:
            self.lists[name].append(item)

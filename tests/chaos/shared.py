"""Threads that all writers append to at once: what was acknowledged is there once, and in the order of the answers."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

from jan.ids import AssistantId, MessageId, ThreadId
from storage_service.store.records import Message, Role, Thread
from tests.chaos import checks
from tests.chaos.oracle import Finding, Seen
from tests.chaos.remote import Remote

SHARED = tuple(f"s{number}" for number in range(16))
IN_ORDER = "the order on the disk is that of the answers"
FOREIGN = "nothing lies there that nobody wrote"


@dataclass(slots=True)
class Append:
    """One message: its text, when it was sent, and when it was acknowledged, if it was."""

    text: str
    began: float
    acknowledged: float = float("inf")


class Appends:
    """All messages that were sent to shared threads, by thread and id."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sent: dict[str, dict[str, Append]] = {key: {} for key in SHARED}
        self.names: dict[str, ThreadId] = {}
        self.acknowledged = 0

    def add(self, remote: Remote, key: str, name: str, chance: random.Random) -> None:
        """Append one message. Raises what the service says, or that it is gone."""
        text = f"{name} " + "x" * chance.choice([0, 100, 3000])
        content = [{"type": "text", "text": {"value": text, "annotations": []}}]
        sent, thread_id = Append(text, time.monotonic()), self.names[key]
        with self._lock:
            self._sent[key][name] = sent
        remote.append(thread_id, [Message(MessageId(name), thread_id, Role.USER, content)])
        sent.acknowledged = time.monotonic()
        with self._lock:
            self.acknowledged += 1

    def check(self, seen: Seen) -> Iterator[Finding]:
        """What must not be, in any of the threads."""
        for key, sent in self._sent.items():
            state = seen.objects.get(key) or {"messages": []}
            found = {name: text for name, text, _ in state["messages"]}
            for name, one in sent.items():
                if one.acknowledged != float("inf") and found.get(name) != one.text:
                    yield Finding(checks.LOST, f"{key} {name}: found {found.get(name)!r}")
            yield from _strangers(key, sent, found)
            yield from _out_of_order(key, [sent[name] for name in found if name in sent])


def create(remote: Remote) -> dict[str, ThreadId]:
    """Make the threads; answers their ids."""
    made = {}
    for key in SHARED:
        thread = Thread(ThreadId(""), 0, 0, title=f"{key} shared")
        made[key] = remote.create_thread(AssistantId("jan"), thread, []).id
    return made


def _strangers(key: str, sent: dict[str, Append], found: dict[str, str]) -> Iterator[Finding]:
    for name, text in found.items():
        if name not in sent or sent[name].text != text:
            yield Finding(FOREIGN, f"{key} {name} says {text[:100]!r}")


def _out_of_order(key: str, in_file: list[Append]) -> Iterator[Finding]:
    """No message may stand in front of one that was acknowledged before it was even sent."""
    earliest = float("inf")
    for one in reversed(in_file):
        if earliest < one.began:
            yield Finding(IN_ORDER, f"{key}: {one.text[:40]!r} stands in front of one acknowledged before it was sent")
        earliest = min(earliest, one.acknowledged)

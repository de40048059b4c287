"""What was asked and what was acknowledged: the states in which each object may be found after a crash.

An object (a thread with all it holds, an upload, an assistant) goes through a row of states. Everything up to the last
acknowledgement has happened; of what was begun since, any first part may have. So an object must be found in its last
acknowledged state or in one of those after it, and in no other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

State = dict[str, Any] | None
"""What the oracle reads of one object, as JSON; None when there is none."""

Changes = Mapping[str, Sequence[State]]
"""The states that one request takes objects through, by the objects' keys; the last one is the result."""


@dataclass(frozen=True, slots=True)
class Expectation:
    """What an object may be found as: as `acknowledged`, or as a later state that somebody was on the way to."""

    acknowledged: State
    begun: tuple[State, ...]

    def allows(self, state: State) -> bool:
        """Whether an object may be found like this."""
        return state == self.acknowledged or state in self.begun


class History:
    """The objects' states. Requests on one object come one after the other; those on others may come meanwhile."""

    def __init__(self) -> None:
        self.acknowledged_writes = 0
        self.refusals = 0
        self._acknowledged: dict[str, State] = {}
        self._begun: dict[str, list[State]] = {}

    def begin(self, changes: Changes) -> None:
        """A request is sent that may take objects through these states."""
        for key, states in changes.items():
            self._begun.setdefault(key, []).extend(states)

    def acknowledge(self, changes: Changes) -> None:
        """It was answered: everything that it does is done."""
        self.acknowledged_writes += 1
        for key, states in changes.items():
            self._acknowledged[key] = states[-1]
            self._begun[key] = []

    def refuse(self, changes: Changes) -> None:
        """It was answered that there is no room: at most a first part of it was done."""
        self.refusals += 1
        for key, states in changes.items():
            self._begun[key] = list(states[:-1])

    def settle(self, found: Mapping[str, State]) -> None:
        """After a crash: what was found is where everybody goes on."""
        self._acknowledged = dict(found)
        self._begun = {}

    def keys(self) -> set[str]:
        """Every object that ever was."""
        return self._acknowledged.keys() | self._begun.keys()

    def expected(self, key: str) -> Expectation:
        """What an object may be found as."""
        return Expectation(self._acknowledged.get(key), tuple(self._begun.get(key, ())))

"""What was found beside what may be: every difference has the name of the promise that it breaks."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.chaos.history import Expectation, History, State
from tests.chaos.oracle import Finding, Seen

LOST = "acknowledged write lost"
MIX = "mix of old and new"
TORN = "half a line after recovery"
LEFT_OVER = "left over after recovery"
DISAGREES = "the store reads what the files say"
PAST_RECOVERY = "recovery and the next append change nothing else"


def check(history: History, seen: Seen) -> list[Finding]:
    """What must not be in a janroot as a crash left it, or as it is while nothing happens."""
    found = list(seen.findings)
    for key in sorted(history.keys() | seen.objects.keys()):
        expected, state = history.expected(key), seen.objects.get(key)
        if not expected.allows(state):
            found.append(Finding(_name(expected, state), f"{key}{_difference(expected.acknowledged, state)}"))
    return found


def check_recovered(janroot: Path, seen: Seen) -> list[Finding]:
    """What must not lie on the disk once somebody opened a janroot again and wrote to it."""
    torn = [Finding(TORN, str(path)) for path in seen.torn]
    left = [Finding(LEFT_OVER, str(path)) for path in (janroot / ".server/staging").iterdir()]
    return [*seen.findings, *torn, *left]


def same(name: str, before: Mapping[str, State], after: Mapping[str, State]) -> Iterator[Finding]:
    """Every object that is not the same in both."""
    for key in sorted(before.keys() | after.keys()):
        if before.get(key) != after.get(key):
            yield Finding(name, f"{key}{_difference(before.get(key), after.get(key))}")


def _name(expected: Expectation, state: State) -> str:
    """Which promise is broken: something acknowledged is not there, or what is there is no state that ever was."""
    return MIX if _kept(expected) <= _pieces(state) else LOST


def _kept(expected: Expectation) -> set[str]:
    """The pieces that every state which may be found has."""
    pieces = _pieces(expected.acknowledged)
    for state in expected.begun:
        pieces &= _pieces(state)
    return pieces


def _pieces(state: State) -> set[str]:
    """What a state says, piece by piece; `messages` one by one."""
    found = set()
    for name, value in (state or {}).items():
        found |= {f"{name}={json.dumps(item)}" for item in (value if isinstance(value, list) else [value])}
    return found


def _difference(before: State, after: State) -> str:
    old, new = (json.dumps(state, indent=1).splitlines() for state in (before, after))
    return "".join(
        f"\n    {line}" for line in difflib.unified_diff(old, new, "acknowledged", "found", lineterm="", n=1)
    )

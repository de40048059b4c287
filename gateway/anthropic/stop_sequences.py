"""Looking for stop sequences in a text that comes in pieces. Pure.

Engines end an answer at a stop sequence and do not tell at which, or that it was one. Anthropic's clients are told, so
it is looked for here, and the job is left once one was found.
"""

from __future__ import annotations

from collections.abc import Sequence


class StopFinder:
    """Feed it the text as it comes; it holds back what may become a stop sequence."""

    def __init__(self, stops: Sequence[str] = ()) -> None:
        """Without stops every text passes."""
        self._stops = stops
        self._longest = max(map(len, stops), default=1) - 1
        self._beginnings = frozenset(stop[:size] for stop in stops for size in range(1, len(stop)))
        self._held = ""
        self.found: str | None = None
        """The stop sequence that ended the text."""

    def feed(self, text: str) -> str:
        """What of the text may be told now: all in front of a stop sequence, and of what may become one."""
        if self.found is not None:
            return ""
        text = self._held + text
        ends = [(place + len(stop), place, stop) for stop in self._stops if (place := text.find(stop)) >= 0]
        if ends:  # the one that was whole first
            _, place, self.found = min(ends)
            self._held = ""
            return text[:place]
        keep = self._beginning_at_end(text)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def rest(self) -> str:
        """What was held back of a text that has ended without becoming a stop sequence."""
        held, self._held = self._held, ""
        return held

    def _beginning_at_end(self, text: str) -> int:
        """How many characters at the end of the text are the beginning of some stop sequence, at most."""
        sizes = range(min(self._longest, len(text)), 0, -1)
        return next((size for size in sizes if text[-size:] in self._beginnings), 0)

"""Stop sequences are found wherever the text is cut, and nothing else is held back for good."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.anthropic.stop_sequences import StopFinder

STOPS = st.lists(st.text("ab ", min_size=1, max_size=4), max_size=4)


def heard(stops: list[str], pieces: list[str]) -> tuple[str, str | None]:
    finder = StopFinder(stops)
    told = "".join(map(finder.feed, pieces))
    return told + finder.rest(), finder.found


@given(STOPS, st.lists(st.text("abc ", max_size=5)))
def test_the_cuts_do_not_matter(stops: list[str], pieces: list[str]) -> None:
    text = "".join(pieces)
    told, found = heard(stops, pieces)
    assert (told, found) == heard(stops, [*text])
    if found is None:
        assert told == text
        assert not any(stop in text for stop in stops)
    else:
        assert text.startswith(told + found)
        assert not any(stop in (told + found)[:-1] for stop in stops)


def test_only_what_may_become_a_stop_is_held_back() -> None:
    finder = StopFinder(["END"])
    assert [finder.feed(piece) for piece in ("one E", "N", "x EN", "D two", "more")] == ["one ", "", "ENx ", "", ""]
    assert (finder.found, finder.rest()) == ("END", "")

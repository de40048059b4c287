"""Every planted mistake can still be planted, and its test is still there; `make planted` shows that it is caught."""

from __future__ import annotations

import pytest

from tests.planted.bug import ROOT, Bug
from tests.planted.bugs import BUGS

PAGE = ROOT / "docs/promises.md"


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_a_mistake_can_be_planted_and_its_test_exists(bug: Bug) -> None:
    source = (ROOT / bug.file).read_text()
    assert bug.planted_in(source) != source
    file, _, test = bug.caught_by.partition("::")
    assert f"def {test.partition('[')[0]}(" in (ROOT / file).read_text()


def test_the_names_of_mistakes_are_their_own() -> None:
    assert len({bug.name for bug in BUGS}) == len(BUGS)


def test_the_page_of_promises_lists_them_all() -> None:
    rows = [line for line in PAGE.read_text().split("\n") if line.startswith("| ")]
    for bug in BUGS:
        assert any(bug.name in row and bug.caught_by.rpartition("::")[2] in row for row in rows), bug.name

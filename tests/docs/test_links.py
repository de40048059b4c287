"""Links between the pages lead somewhere, and every page can be found from an index."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.docs import markdown
from tests.docs.markdown import ROOT


@pytest.mark.parametrize("page", markdown.pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_to_a_file_and_a_heading_of_it(page: Path) -> None:
    for link in markdown.links(page.read_text("utf-8")):
        parts = urlsplit(link)
        if parts.scheme:
            continue  # somebody else's page: tests need no network
        target = (page.parent / parts.path).resolve() if parts.path else page
        assert target.exists(), f"{link} leads nowhere"
        assert target.is_relative_to(ROOT), f"{link} leads out of the repository"
        if parts.fragment:
            assert parts.fragment in markdown.anchors(target.read_text("utf-8")), f"{link} names no heading"


@pytest.mark.parametrize("folder", ["docs", "docs/decisions"])
def test_the_index_names_every_page_of_its_folder(folder: str) -> None:
    indexed = set(markdown.links(markdown.read(f"{folder}/README.md")))
    assert {page.name for page in (ROOT / folder).glob("*.md") if page.name != "README.md"} <= indexed


def test_decisions_are_numbered_without_gap_and_indexed_under_their_titles() -> None:
    index = markdown.read("docs/decisions/README.md")
    files = sorted((ROOT / "docs/decisions").glob("[0-9]*.md"))
    assert [int(file.name[:4]) for file in files] == list(range(1, len(files) + 1))
    for file in files:
        title = file.read_text("utf-8").splitlines()[0].removeprefix("# ")
        assert f"| [{file.name[:4]}]({file.name}) | {title} |" in index

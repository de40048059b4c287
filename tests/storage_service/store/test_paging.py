"""Pages against the plain definition of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jan.errors import InvalidArgumentError
from storage_service.store.paging import Page, PageQuery, cut

LETTERS = "abcdefghij"


def page(query: PageQuery, items: str = LETTERS) -> Page[str]:
    return cut(items, query, lambda cursor: items.index(cursor) if cursor in items else None)


@pytest.mark.parametrize(
    ("query", "items", "has_more"),
    [
        (PageQuery(limit=3, descending=False), "abc", True),
        (PageQuery(limit=3), "jih", True),
        (PageQuery(limit=10), "jihgfedcba", False),
        (PageQuery(limit=3, after="h"), "gfe", True),
        (PageQuery(limit=3, after="d"), "cba", False),
        (PageQuery(limit=3, after="a"), "", False),
        (PageQuery(limit=3, before="d", descending=False), "abc", False),
        (PageQuery(limit=2, before="d", descending=False), "bc", True),
        (PageQuery(limit=2, before="d"), "fe", True),
        (PageQuery(limit=2, before="j"), "", False),
        (PageQuery(limit=9, after="b", before="f", descending=False), "cde", False),
        (PageQuery(limit=2, after="b", before="f", descending=False), "cd", True),
        (PageQuery(limit=9, after="f", before="b"), "edc", False),
        (PageQuery(limit=9, after="f", before="b", descending=False), "", False),
    ],
)
def test_a_page(query: PageQuery, items: str, has_more: bool) -> None:
    assert page(query) == Page(tuple(items), has_more)


def test_an_empty_list_has_one_empty_page() -> None:
    assert page(PageQuery(), "") == Page((), has_more=False)


@pytest.mark.parametrize(
    "query", [PageQuery(after="?"), PageQuery(before="zz"), PageQuery(limit=0), PageQuery(limit=101)]
)
def test_a_cursor_nobody_knows_and_a_limit_out_of_range_are_refused(query: PageQuery) -> None:
    with pytest.raises(InvalidArgumentError):
        page(query)


@given(st.integers(0, 10), st.integers(1, 4), st.booleans())
def test_following_the_cursor_shows_everything_once(length: int, limit: int, descending: bool) -> None:
    items = LETTERS[:length]
    seen, after, more = "", None, True
    while more:
        found = page(PageQuery(limit, descending, after), items)
        seen += "".join(found.items)
        after, more = (found.items[-1] if found.items else None), found.has_more
    assert seen == (items[::-1] if descending else items)

"""Cursor paging over an ordered sequence, as every list of the API wants it."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from jan.errors import InvalidArgumentError

MAX_LIMIT = 100
# A page travels in one message between the services, which may hold 64 MiB; a single item has at most 16.
MAX_PAGE_BYTES = 16 * 1024 * 1024

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class PageQuery:
    """Which stretch of a list is wanted. `after` and `before` are ids of items in that list."""

    limit: int = 20
    descending: bool = True
    after: str | None = None
    before: str | None = None


@dataclass(frozen=True, slots=True)
class Page(Generic[Item]):
    """Some items in the order asked for, and whether more lie beyond them in the direction of travel."""

    items: tuple[Item, ...]
    has_more: bool


def cut(
    items: Sequence[Item],
    query: PageQuery,
    find: Callable[[str], int | None],
    size_bytes: Callable[[Item], int] = lambda _: 0,
    *,
    max_limit: int = MAX_LIMIT,
) -> Page[Item]:
    """One page of `items`, which are in order of creation, oldest first.

    `find` gives the index of an id, or None. With `before` alone the page is the one just in front of that
    item and `has_more` speaks of what lies further in front; otherwise it speaks of what follows. Large items make
    a page shorter than its limit: it ends in front of the first that would take it past MAX_PAGE_BYTES.
    Raises InvalidArgumentError: a limit outside 1..`max_limit`, or a cursor that names no item of this list.
    """
    if not 1 <= query.limit <= max_limit:
        raise InvalidArgumentError(f"limit must be between 1 and {max_limit}.", param="limit")
    after = _position("after", query.after, find)
    before = _position("before", query.before, find)
    if query.descending:
        after, before = before, after
    first = 0 if after is None else after + 1
    last = len(items) if before is None else before
    window = range(first, max(first, last))
    backwards = query.before is not None and query.after is None
    take_from_end = backwards != query.descending
    away = (window[::-1] if take_from_end else window)[: query.limit]
    chosen = away[: _count_that_fit(size_bytes(items[index]) for index in away)]
    if take_from_end != query.descending:
        chosen = chosen[::-1]
    return Page(tuple(items[index] for index in chosen), has_more=len(chosen) < len(window))


def _count_that_fit(sizes: Iterable[int]) -> int:
    """How many of the first items make one page; one at least, if there is one."""
    count = total = 0
    for size in sizes:
        total += size
        if count and total > MAX_PAGE_BYTES:
            break
        count += 1
    return count


def _position(name: str, cursor: str | None, find: Callable[[str], int | None]) -> int | None:
    if cursor is None:
        return None
    index = find(cursor)
    if index is None:
        raise InvalidArgumentError(f"No item with id '{cursor}' in this list.", param=name)
    return index

"""Progress bars for people: on standard error, and nothing at all where that is no terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tqdm import tqdm

Advance = Callable[[int], object]
Show = Callable[[int, int | None], None]


@contextmanager
def bytes_bar(title: str, total: int | None = None) -> Iterator[Advance]:
    """A bar that is told how many more bytes went; without `total` it shows how many and how fast."""
    with tqdm(desc=title, total=total, unit="B", unit_scale=True, unit_divisor=1024, disable=None, leave=False) as bar:
        yield bar.update


@contextmanager
def moving_bar(title: str) -> Iterator[Show]:
    """A bar that is told how many bytes are here, and of how many as far as that is known; it may go back."""
    with tqdm(desc=title, unit="B", unit_scale=True, unit_divisor=1024, disable=None, leave=False) as bar:

        def show(count: int, total: int | None) -> None:
            bar.total = total
            bar.update(count - bar.n)

        yield show


@contextmanager
def items_bar(title: str, total: int | None = None, unit: str = "") -> Iterator[Advance]:
    """A bar that is told how many more things are done, for example threads."""
    with tqdm(desc=title, total=total, unit=f" {unit}", disable=None, leave=False) as bar:
        yield bar.update

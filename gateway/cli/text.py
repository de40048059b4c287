"""Text for terminals: names from strangers, sizes, tables."""

from __future__ import annotations

from collections.abc import Sequence

_UNITS = ("bytes", "KB", "MB", "GB", "TB", "PB")


def safe(text: str) -> str:
    """Names come from strangers' disks: no control character reaches the terminal."""
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)


def size(count: int | None) -> str:
    """A number of bytes as people say it of files, 1000 to a KB; empty for None."""
    if count is None:
        return ""
    value, unit = float(count), 0
    while value >= 1000 and unit < len(_UNITS) - 1:
        value, unit = value / 1000, unit + 1
    return f"{value:.0f} {_UNITS[unit]}" if unit == 0 or value >= 100 else f"{value:.1f} {_UNITS[unit]}"


def memory(count: int) -> str:
    """A number of bytes of memory, 1024 to a KiB, as the sentences of `fit` tell it: `1.5 GiB`, `640 MiB`."""
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{-(-count // 2**20)} MiB"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns under their names, each as wide as it must be; one that holds nothing is left out."""
    wanted = [column for column in range(len(head)) if any(row[column] for row in rows)]
    lines = [[line[column] for column in wanted] for line in (head, *rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )

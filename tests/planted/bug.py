"""One mistake, and how it is planted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Bug:
    """In `file`, `right` is replaced by `wrong`; the test `caught_by` must fail then."""

    name: str
    file: str
    right: str
    wrong: str
    caught_by: str

    def planted_in(self, source: str) -> str:
        """The file's text with the mistake in it. Raises ValueError: what it replaces does not stand there once."""
        if source.count(self.right) != 1:
            raise ValueError(f"{self.name}: {self.file} holds {source.count(self.right)} times {self.right!r}")
        return source.replace(self.right, self.wrong)

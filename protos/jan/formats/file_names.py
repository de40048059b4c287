"""Names that other programs gave files: which of them can be told to people, and to other processes."""

from __future__ import annotations

import re
from typing import Final

_UNTELLABLE: Final = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def is_tellable(name: str) -> bool:
    """Whether a name has no control characters, and is UTF-8: Python reads other bytes as lone surrogates.

    A line break in a name forges a second line in a log, and a name that is no text cannot cross processes at all.
    """
    return not _UNTELLABLE.search(name)

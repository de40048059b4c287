"""Files that cannot be opened, for whatever reason: root may read everything, so the kernel's word is ours."""

from __future__ import annotations

import os
from typing import Any

import pytest


def refuse_to_open(patch: pytest.MonkeyPatch, name: str, number: int) -> None:
    """From now on opening a file of this name, relative to its folder, fails with this number of `errno`."""
    really = os.open

    def opened(path: Any, flags: int, *more: Any, **named: Any) -> int:
        if path == name:
            raise OSError(number, os.strerror(number), path)
        return really(path, flags, *more, **named)

    patch.setattr(os, "open", opened)

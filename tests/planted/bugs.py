"""Mistakes in the queue, the gateway and the worker, and the named test that must fail under each (F17).

A test that never failed may have looked at nothing. Each mistake is one that somebody could make: a line that is left
out, a comparison that is forgotten. It is a replacement of a text that stands in its file exactly once, so that a
refactoring which moves the line is told (`test_bugs.py`), and the mistake is planted anew.
"""

from __future__ import annotations

from typing import Final

from tests.planted.losses import LOSSES
from tests.planted.streams import STREAMS
from tests.planted.turns import TURNS

BUGS: Final = (*LOSSES, *TURNS, *STREAMS)

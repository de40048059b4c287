"""How many threads an engine may use on this host."""

from __future__ import annotations

import os


def default_threads() -> int:
    """All cores we may use but one.

    Threads of an engine wait for each other after every layer, spinning. When anything else needs one of the cores they
    all wait for the one that lost it: measured with llama.cpp on two busy cores, 4 tokens/s with two threads and 77
    with one.
    """
    return max(1, len(os.sched_getaffinity(0)) - 1)

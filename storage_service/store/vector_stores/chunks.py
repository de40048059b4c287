"""Cuts a text into chunks of at most so many tokens, which overlap.

There is no tokenizer here, since each model has its own. A token is a word's next six letters or digits, one sign of
a script without blanks, or any other visible sign: for English within a tenth or so of what models count.
"""

import re
from collections.abc import Iterator, Sequence
from itertools import islice

from storage_service.store.vector_stores.records import Chunking

VERSION = 1
"""To be counted up with every change of where chunks begin or end: vectors of others are not theirs."""
_TOKEN = re.compile(r"[\u2e80-\ua4cf\uac00-\ud7ff\uf900-\ufaff]|(?:[^\W_\u2e80-\ua4cf\uac00-\ud7ff]){1,6}|\S")
# Where a reader would cut, the best first, looked for in the last quarter of a chunk.
_ENDS = (re.compile(r"\n\s*\n"), re.compile(r"\n"), re.compile(r"[.!?…\u3002\uff01\uff1f]\s"))

Span = tuple[int, int]


def spans(text: str, chunking: Chunking) -> Iterator[Span]:
    """Where each chunk begins and ends; together they hold every token of the text."""
    tokens = _TOKEN.finditer(text)
    window: list[Span] = []
    covered = 0
    while True:
        window += (token.span() for token in islice(tokens, chunking.max_tokens - len(window)))
        if len(window) < chunking.max_tokens:
            if window and window[-1][1] > covered:
                yield window[0][0], window[-1][1]
            return
        count = _good_end(text, window)
        covered = window[count - 1][1]
        yield window[0][0], covered
        # Three quarters of the window at least are done and half of it at most stays: every round gets on.
        window = window[max(count - chunking.overlap_tokens, 1) :]


def _good_end(text: str, window: Sequence[Span]) -> int:
    """How many of the tokens make the chunk: up to the last good place to cut, or all."""
    first = len(window) - len(window) // 4
    start, stop = window[first - 1][1], window[-1][1]
    for pattern in _ENDS:
        place = max((match.start() for match in pattern.finditer(text, start, stop)), default=-1)
        if place >= 0:
            return next(count for count in range(len(window), 0, -1) if window[count - 1][0] <= place)
    return len(window)

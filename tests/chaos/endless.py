"""Work without end, drawn by lot, for the experiments that cut it off at any moment."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable

from tests.chaos.writer import Writer

THREADS = [f"t{number}" for number in range(6)]
# After so many of a hundred requests the process stops itself, so that it is cut off with nothing under way: that is
# where a rename shows whose folder was not synced.
STOPS_OF_100 = 4


def endless(writer: Writer) -> None:
    """Everything that people do, on a few threads, until somebody ends it."""
    for key in THREADS:
        writer.create(key, ("first",))
    made = 0
    while True:
        made += 1
        _one(writer, writer.chance, made)
        if writer.chance.randrange(100) < STOPS_OF_100:
            os.kill(os.getpid(), signal.SIGSTOP)


def _one(writer: Writer, chance: random.Random, made: int) -> None:
    key = chance.choice(THREADS)
    if writer.place(key) == "trash":
        writer.restore(key)
        return
    said = writer.count(key)
    works: list[tuple[int, Callable[[], object]]] = [
        (40, lambda: writer.append(key, f"text {made} " + "x" * chance.choice([0, 50, 5000]))),
        (10, lambda: writer.append(key, f"one {made}", f"two {made}")),
        (8, lambda: writer.retitle(key, f"title {made}")),
        (6, lambda: writer.delete(key)),
        (4, lambda: writer.upload(f"upload{made}", chance.randrange(1, 4))),
        (4, lambda: writer.end_run(key, writer.start_run(key, f"ask {made}"))),
        (2, lambda: writer.create_assistant(f"asst_{made}", "Cook")),
    ]
    if said:
        works.append((15, lambda: writer.edit(key, chance.randrange(said), f"edit {made}")))
        works.append((5, lambda: writer.delete_message(key, chance.randrange(said))))
    if said > 8:
        works.append((30, lambda: writer.clear(key)))
    if writer.can_be_uncleared(key):
        works.append((10, lambda: writer.unclear(key)))
    weights = [weight for weight, _ in works]
    [(_, work)] = chance.choices(works, weights)
    work()

"""Work without end, drawn by lot, for the experiments that cut it off at any moment."""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Callable

from tests.chaos.writer import Writer

THREADS = [f"t{number}" for number in range(6)]
# After so many of a hundred requests the process stops itself, so that it is cut off with nothing under way: that is
# where a rename shows whose folder was not synced.
STOPS_OF_100 = 4
MOST_SAID = 8


def endless(writer: Writer) -> None:
    """Everything that people do, on a few threads, until somebody ends it."""
    for key in THREADS:
        writer.create(key, ("first",))
    for number in itertools.count():
        key = writer.chance.choice(THREADS)
        if writer.chance.randrange(10) or writer.place(key) == "trash":
            one_day(writer, key, number)
        elif writer.chance.randrange(2):
            writer.append(key, f"one {number}", f"two {number}")
        else:
            writer.end_run(key, writer.start_run(key, f"ask {number}"))
        if writer.chance.randrange(100) < STOPS_OF_100:
            os.kill(os.getpid(), signal.SIGSTOP)


def one_day(writer: Writer, key: str, number: int) -> None:
    """One request of the everyday kind, on one thread."""
    if writer.place(key) == "trash":
        writer.restore(key)
        return
    chance, said = writer.chance, writer.count(key)
    works: list[tuple[int, Callable[[], object]]] = [
        (45, lambda: writer.append(key, f"text {number} " + "x" * chance.choice([0, 50, 5000]))),
        (8, lambda: writer.retitle(key, f"title {number}")),
        (6, lambda: writer.delete(key)),
        (4, lambda: writer.upload(writer.name("upload"), chance.randrange(1, 4))),
        (2, lambda: writer.create_assistant(writer.name("asst"), "Cook")),
    ]
    if said:
        works.append((15, lambda: writer.edit(key, chance.randrange(said), f"edit {number}")))
        works.append((5, lambda: writer.delete_message(key, chance.randrange(said))))
    if said > MOST_SAID:
        works.append((30, lambda: writer.clear(key)))
    if writer.can_be_uncleared(key):
        works.append((10, lambda: writer.unclear(key)))
    [(_, work)] = chance.choices(works, [weight for weight, _ in works])
    work()

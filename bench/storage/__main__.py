"""Runs the benchmarks that are named, or all of them; each prints its tables. A new one is a module and a row here."""

import argparse
import os
import tempfile
from collections.abc import Callable, Coroutine
from pathlib import Path

import uvloop

from bench.storage import chunks, durable, imports, lists, long_thread, search

# Each gets an empty folder of its own.
BENCHMARKS: dict[str, Callable[[Path], Coroutine[None, None, None]]] = {
    "chunks": chunks.measure,
    "durable": durable.measure,
    "imports": imports.measure,
    "lists": lists.measure,
    "long": long_thread.measure,
    "search": search.measure,
}


def main() -> None:
    """Measure, each in its own folder."""
    parser = argparse.ArgumentParser(prog="python -m bench.storage")
    parser.add_argument("names", nargs="*", metavar="|".join(BENCHMARKS), help="all when none is named")
    names = parser.parse_args().names or list(BENCHMARKS)
    if unknown := set(names) - set(BENCHMARKS):
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}")
    print(f"Load before: {os.getloadavg()[0]:.1f}")
    for name in names:
        with tempfile.TemporaryDirectory(prefix="jan-bench-") as folder:
            uvloop.run(BENCHMARKS[name](Path(folder)))


if __name__ == "__main__":
    main()

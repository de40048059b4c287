"""A process that names a folder, as ours do."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

Starter = Callable[[Path], subprocess.Popen[bytes]]


@pytest.fixture
def start_idler() -> Iterator[Starter]:
    """Starts processes that wait for nothing, with a file of the given folder on their command line."""
    started: list[subprocess.Popen[bytes]] = []

    def start(folder: Path) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", "import signal; print(flush=True); signal.pause()", f"{folder}/mark"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
        started.append(process)
        assert process.stdout is not None
        process.stdout.readline()  # just after exec, the kernel does not show the new command line yet
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()

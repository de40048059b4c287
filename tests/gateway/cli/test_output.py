"""What the commands print, where it cannot be printed: no traceback, and an exit code that tells."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

from tests.fixtures.gateway import Gateway
from tests.fixtures.jan_files import put
from tests.fixtures.storage import StorageServer

ROOT = Path(__file__).resolve().parents[3]
COMMANDS = [["models", "list"], ["models", "list", "--json"], ["doctor", "--all"], ["export", "--all", "-o", "-"]]


async def run(gateway: Gateway, output: int, *arguments: str) -> tuple[int | None, str]:
    """A command as people start it, its standard output at `output`; its exit code and standard error."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway.cli", "--url", gateway.url, *arguments),
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'protos'}"},
        stdout=output,
        stderr=asyncio.subprocess.PIPE,
    )
    _, errors = await process.communicate()
    return process.returncode, errors.decode()


@pytest.fixture
async def told(gateway: Gateway, storage_server: StorageServer) -> Gateway:
    """A gateway whose janroot gives each command something to say."""
    for number in range(200):
        await asyncio.to_thread(put, storage_server.janroot / f"threads/notes-{number}.txt", "mine")
    return gateway


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
async def test_nobody_reads(told: Gateway, command: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        assert await run(told, writing, *command) == (141, "")
    finally:
        os.close(writing)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
async def test_the_disk_is_full(told: Gateway, command: list[str]) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        assert await run(told, full, *command) == (2, "janroot: cannot write: No space left on device.\n")
    finally:
        os.close(full)

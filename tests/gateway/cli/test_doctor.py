"""`janroot doctor` against a real gateway, and where there is none."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest

from gateway.cli.__main__ import main
from gateway.cli.doctor import render
from gateway.cli.server import Server, ServerError
from tests.fixtures.gateway import Gateway
from tests.fixtures.jan_files import put
from tests.fixtures.storage import StorageServer

ROOT = Path(__file__).resolve().parents[3]


async def doctor(gateway: Gateway, *options: str) -> tuple[int | None, str]:
    """Run the command as people do; its exit code and what it printed."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway.cli", "--url", gateway.url, "doctor", *options),
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'protos'}"},
        stdout=asyncio.subprocess.PIPE,
    )
    said, _ = await process.communicate()
    return process.returncode, said.decode()


async def test_nothing_unusual(gateway: Gateway) -> None:
    assert await doctor(gateway) == (0, "Nothing unusual.\n")


async def test_notes_want_no_hand(gateway: Gateway, storage_server: StorageServer) -> None:
    await asyncio.to_thread(put, storage_server.janroot / "threads/notes.txt", "mine")
    assert await doctor(gateway) == (0, "0 errors, 0 warnings, 1 notes (--all tells those, too).\n")
    code, said = await doctor(gateway, "--all")
    assert code == 0
    assert said.startswith("INFO  threads/notes.txt\n  stray_file: ")


async def test_what_wants_a_hand(gateway: Gateway, storage_server: StorageServer) -> None:
    await asyncio.to_thread(put, storage_server.janroot / "threads/jan_1705000001/thread.json", "{")
    code, said = await doctor(gateway)
    assert code == 1
    assert said.startswith("WARNING  threads/jan_1705000001/thread.json\n  invalid_json: ")
    assert "\n  To do: " in said
    code, said = await doctor(gateway, "--json")
    assert (code, json.loads(said)["needs_hand"]) == (1, True)


def test_no_server(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--url", "http://127.0.0.1:9", "doctor"]) == 2
    assert capsys.readouterr().err.startswith("janroot: http://127.0.0.1:9 does not answer as Janroot does: ")


async def test_what_the_server_refuses_is_repeated(gateway: Gateway) -> None:
    with pytest.raises(ServerError, match="answered 404"):
        await Server(gateway.url).get("/v1/nothing", timeout_seconds=10)


def test_the_server_is_the_one_that_the_settings_start(tmp_path: Path) -> None:
    key = put(tmp_path / "admin.key", "sekret\n")
    server = Server.from_environment({"JANROOT_HOST": "::1", "JANROOT_PORT": "1400", "JANROOT_ADMIN_KEY": str(key)})
    assert server == Server("http://[::1]:1400", "sekret")
    assert "sekret" not in repr(server)
    with pytest.raises(ServerError):
        Server.from_environment({"JANROOT_PORT": "many"})


def test_no_name_on_disk_commands_the_terminal() -> None:
    finding = {"path": "threads/\x1b[2J", "kind": "k", "severity": "error", "detail": "\r"}
    finding |= {"meaning": "M.", "action": "A."}
    report = {"findings": [finding], "counts": {"error": 1, "warning": 0, "info": 0}, "has_more": False}
    assert "\x1b" not in render(report, tell_all=False)
    assert "\r" not in render(report, tell_all=False)

"""`janroot assistants import` as people call it, against a real gateway."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.fixtures.assistant_zips import folder, zipped
from tests.fixtures.gateway import Gateway, running_gateway
from tests.fixtures.other_server import OtherServer, other_server
from tests.fixtures.redis import RedisServer
from tests.fixtures.storage import StorageServer

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
async def other() -> AsyncIterator[OtherServer]:
    async with other_server() as server:
        server.files = {"/shakespeare.zip": zipped(folder())}
        yield server


@pytest.fixture
async def gateway(
    storage_server: StorageServer, redis_server: RedisServer, redis: object, other: OtherServer
) -> AsyncIterator[Gateway]:
    hosts = f"127.0.0.1:{other.port}"
    async with running_gateway(storage_server, redis_server, JANROOT_DOWNLOAD_HOSTS=hosts) as gateway:
        yield gateway


async def take_in(gateway: Gateway, source: object, *options: str) -> tuple[int | None, str, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway.cli", "--url", gateway.url, "assistants", "import", str(source), *options),
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'protos'}"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    said, complained = await process.communicate()
    return process.returncode, said.decode(), complained.decode()


def shakespeare(below: Path) -> Path:
    for name, data in folder().items():
        (below / name).parent.mkdir(parents=True, exist_ok=True)
        (below / name).write_bytes(data)
    (below / "shakespeare/link").symlink_to("/etc/passwd")
    return below / "shakespeare"


async def test_a_folder_a_zip_of_it_and_its_description_alone(
    gateway: Gateway, storage_server: StorageServer, tmp_path: Path
) -> None:
    source = await asyncio.to_thread(shakespeare, tmp_path)
    assert await take_in(gateway, source) == (0, "shakespeare ('Shakespeare'): ready\n", "")
    place = storage_server.janroot / "assistants/shakespeare"
    assert {str(path.relative_to(place)) for path in place.rglob("*") if path.is_file()} == folder("").keys()
    await asyncio.to_thread((tmp_path / "a.zip").write_bytes, zipped(folder("")))
    code, said, _ = await take_in(gateway, tmp_path / "a.zip", "--id", "mine", "--json")
    assert (code, json.loads(said)["id"]) == (0, "mine")
    assert (await take_in(gateway, source / "assistant.json"))[1] == "asst_abc123 ('Shakespeare'): ready\n"


async def test_a_url(gateway: Gateway, other: OtherServer) -> None:
    code, said, _ = await take_in(gateway, other.url("/shakespeare.zip"), "--id", "bard")
    assert (code, said) == (0, "bard ('Shakespeare'): ready\n")
    code, said, _ = await take_in(gateway, other.url("/redirects"), "--id", "gone")
    assert code == 1
    assert said.startswith("gone: to_download\nThe URL leads on to 'http://127.0.0.1:")
    assert said.endswith("The same command tries again.\n")


async def test_what_cannot_be_is_told_in_a_sentence(gateway: Gateway, tmp_path: Path) -> None:
    code, _, complained = await take_in(gateway, "https://files.test/a.zip")
    assert code == 2
    assert "JANROOT_DOWNLOADS=public" in complained
    assert await take_in(gateway, tmp_path / "none") == (
        *(2, ""),
        f"janroot: {tmp_path / 'none'} cannot be read: No such file or directory.\n",
    )
    code, _, complained = await take_in(gateway, tmp_path)
    assert (code, "has no assistant.json" in complained) == (2, True)

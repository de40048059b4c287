"""`janroot export`, `backup` and `restore`, as people run them."""

from __future__ import annotations

import asyncio
import io
import json
import os
import sys
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.fixtures.gateway import Gateway, running_gateway
from tests.fixtures.jan_files import put, snapshot
from tests.fixtures.redis import RedisServer
from tests.fixtures.storage import StorageServer
from tests.fixtures.storage_process import Service
from tests.gateway.client import ask

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[3]


async def janroot(url: str, *arguments: str, folder: Path, stdin: bytes = b"") -> tuple[int | None, bytes, str]:
    """Run a command in a folder; its exit code, what it printed, and what it complained of."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway.cli", "--url", url, *arguments),
        cwd=folder,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'protos'}"},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    said, complained = await process.communicate(stdin)
    return process.returncode, said, complained.decode()


async def test_a_thread_is_exported(gateway: Gateway, tmp_path: Path) -> None:
    thread = await ask(gateway.client, "POST", "/v1/threads", {"title": "Trip"})
    name, folder = thread["id"], tmp_path / "here"
    folder.mkdir()
    assert await janroot(gateway.url, "export", name, folder=folder) == (
        0,
        f"Saved thread {name} as {name}.zip.\n".encode(),
        "",
    )
    assert zipfile.ZipFile(folder / f"{name}.zip").testzip() is None
    code, said, complained = await janroot(
        gateway.url, "export", name, "--format", "markdown", "-o", "-", folder=folder
    )
    assert (code, complained) == (0, f"Saved thread {name} as -.\n")
    assert said.startswith(b"# Trip\n")
    assert await asyncio.to_thread(os.listdir, tmp_path / "here") == [f"{name}.zip"]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["export", "jan_1"], "answered 404: No thread found with id 'jan_1'."),
        (["export", "../x"], "janroot: "),
        (["export", "--all"], "janroot: say where to with -o FILE."),
        (
            ["backup", "-o", "no/such/folder.zip"],
            "janroot: cannot write no/such/folder.zip: No such file or directory.",
        ),
        (["restore", "nothing.zip", "--yes"], "janroot: cannot read nothing.zip: No such file or directory."),
        (["restore", "nothing.zip"], "janroot: this replaces the whole janroot: say that you mean it with --yes."),
        (["restore", "--undo", "janroot-1-00000000", "--yes"], "answered 404"),
        (["restore", "broken.zip", "--yes"], "answered 400: The file is not a whole zip archive"),
    ],
)
async def test_what_cannot_be_is_said_and_leaves_nothing(
    gateway: Gateway, tmp_path: Path, arguments: list[str], complaint: str
) -> None:
    folder = tmp_path / "here"
    await asyncio.to_thread(put, folder / "broken.zip", "no zip")
    code, said, complained = await janroot(gateway.url, *arguments, folder=folder)
    assert (code, said) == (2, b"")
    assert complaint in complained
    assert [path.name for path in folder.iterdir()] == ["broken.zip"]


async def test_a_backup_that_breaks_off_leaves_no_file(
    gateway: Gateway, storage_server: StorageServer, tmp_path: Path
) -> None:
    folder = tmp_path / "here"
    await asyncio.to_thread(put, folder / "kept.zip", "before")
    # So long that nobody is done with it before the signal; the file itself takes no room.
    await asyncio.to_thread(put, storage_server.janroot / "files/large", b"")
    await asyncio.to_thread(os.truncate, storage_server.janroot / "files/large", 2_000_000_000)
    process = await asyncio.create_subprocess_exec(
        # A shell's background job has Ctrl-C ignored, and so would all that it starts.
        *("env", "--default-signal=INT"),
        *(sys.executable, "-m", "gateway.cli", "--url", gateway.url, "backup", "-o", "kept.zip"),
        cwd=folder,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'protos'}"},
        stderr=asyncio.subprocess.PIPE,
    )
    while len([*folder.iterdir()]) == 1:
        await ask(gateway.client, "GET", "/v1/threads")
    process.send_signal(2)
    await process.communicate()
    assert process.returncode != 0
    assert [path.name for path in folder.iterdir()] == ["kept.zip"]
    assert (folder / "kept.zip").read_text() == "before"


@pytest.fixture
async def product(service: Service, redis_server: RedisServer, redis: object) -> AsyncIterator[Gateway]:
    """A gateway over a storage service that is started again when it leaves."""
    async with service.supervised() as (_, channel):
        storage = StorageServer(service.janroot, service.address, channel)
        async with running_gateway(storage, redis_server) as gateway:
            yield gateway


async def test_there_and_back(product: Gateway, service: Service, tmp_path: Path) -> None:
    thread = await ask(product.client, "POST", "/v1/threads", {"title": "Trip"})
    path = f"/v1/threads/{thread['id']}"
    await ask(product.client, "POST", f"{path}/messages", {"role": "user", "content": "Rome"})
    kept = await asyncio.to_thread(snapshot, service.janroot)
    code, said, _ = await janroot(product.url, "backup", "-o", "all.zip", folder=tmp_path)
    assert code == 0
    # The demo model's weights stay behind, and stay where they are.
    assert said.startswith(b"Saved the janroot with 1 threads as all.zip. Left out: 1 files or links;")
    await ask(product.client, "POST", f"{path}/messages", {"role": "user", "content": "Paris"})
    await ask(product.client, "POST", "/v1/threads", {"title": "Another"})

    code, said, _ = await janroot(product.url, "restore", "all.zip", "--dry-run", folder=tmp_path)
    assert code == 0
    assert said.startswith(b"The backup is whole: 1 threads, ")
    assert len((await ask(product.client, "GET", "/v1/threads"))["data"]) == 2

    code, said, complained = await janroot(product.url, "restore", "all.zip", "--yes", folder=tmp_path)
    assert (code, complained) == (0, "")
    assert await asyncio.to_thread(snapshot, service.janroot) == kept
    assert [found["title"] for found in (await ask(product.client, "GET", "/v1/threads"))["data"]] == ["Trip"]
    undo = said.decode().split("To undo: janroot ")[1].split()
    assert (await janroot(product.url, *undo, "--yes", folder=tmp_path))[0] == 0
    titles = {found["title"] for found in (await ask(product.client, "GET", "/v1/threads"))["data"]}
    assert titles == {"Trip", "Another"}

    data = await asyncio.to_thread((tmp_path / "all.zip").read_bytes)
    code, _, _ = await janroot(product.url, "restore", "-", "--yes", folder=tmp_path, stdin=data)
    assert code == 0
    assert await asyncio.to_thread(snapshot, service.janroot) == kept


async def test_an_export_is_no_backup(gateway: Gateway, tmp_path: Path) -> None:
    code, said, complained = await janroot(gateway.url, "export", "--all", "-o", "-", folder=tmp_path)
    assert (code, complained) == (0, "Saved 0 threads and what belongs to them as -.\n")
    with zipfile.ZipFile(io.BytesIO(said)) as archive:
        assert json.loads(archive.read("janroot-export.json"))["format"] == "janroot-export"
    code, _, complained = await janroot(gateway.url, "restore", "-", "--yes", folder=tmp_path, stdin=said)
    assert code == 2
    assert "This is an export, made to be shared" in complained

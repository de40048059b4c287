"""`janroot import` as people call it: zips, JSON and folders, against a real gateway."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

from gateway.cli.folders import look_into, zip_pieces
from tests.fixtures import jan_folders
from tests.fixtures.archives import tree, zipped
from tests.fixtures.gateway import Gateway
from tests.fixtures.jan_files import put
from tests.fixtures.storage import StorageServer

ROOT = Path(__file__).resolve().parents[3]


async def take_in(gateway: Gateway, path: Path, *options: str) -> tuple[int | None, str, str]:
    """Run the command as people do; its exit code and what it printed."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway.cli", "--url", gateway.url, "import", str(path), *options),
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'protos'}"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    said, complained = await process.communicate()
    return process.returncode, said.decode(), complained.decode()


def jan_folder(folder: Path) -> Path:
    folder.mkdir()
    jan_folders.v04_root(folder)
    jan_folders.v06_thread(folder)
    (folder / "threads/link").symlink_to("/etc")
    return folder


async def test_a_jan_folder_is_tried_then_taken_in(
    gateway: Gateway, storage_server: StorageServer, tmp_path: Path
) -> None:
    folder = await asyncio.to_thread(jan_folder, tmp_path / "Jan")
    before = await asyncio.to_thread(tree, storage_server.janroot)
    code, said, _ = await take_in(gateway, folder, "--dry-run")
    assert (code, said.splitlines()[0]) == (
        1,
        "Would bring in 2 threads, 11 messages, 0 assistants, 3 models, 0 files.",
    )
    assert said.endswith("Nothing was changed. Leave out --dry-run to do it.\n")
    assert await asyncio.to_thread(tree, storage_server.janroot) == before
    code, said, _ = await take_in(gateway, folder)
    assert (code, said.splitlines()[0]) == (1, "Brought in 2 threads, 11 messages, 0 assistants, 3 models, 0 files.")
    assert "\n  engines/openai.json: api_key\n" in said
    assert "Not sent: 1 in extensions/" in said
    assert "2 weights of models (see --weights)" in said
    assert "\n  threads/link: a link; put what it points to in its place\n" in said
    assert "Enter those keys again" in said
    assert (storage_server.janroot / "models/demo-7b-q4/model.json").is_file()
    assert not (storage_server.janroot / "models/demo-7b-q4/demo-7b-q4.gguf").exists()


async def test_weights_go_when_asked(gateway: Gateway, storage_server: StorageServer, tmp_path: Path) -> None:
    folder = await asyncio.to_thread(jan_folder, tmp_path / "Jan")
    await take_in(gateway, folder, "--weights")
    assert (storage_server.janroot / "models/demo-7b-q4/demo-7b-q4.gguf").is_file()


async def test_what_cannot_be_sent_is_named(gateway: Gateway, tmp_path: Path) -> None:
    folder = await asyncio.to_thread(jan_folder, tmp_path / "Jan")
    (folder / "threads" / "odd\nname").write_text("x", encoding="utf-8")
    os.mkfifo(folder / "pipe")
    _, said, _ = await take_in(gateway, folder)
    assert said.partition("Not sent, and perhaps missed:\n")[2].splitlines()[:3] == [
        "  pipe: neither a file nor a folder",
        "  threads/link: a link; put what it points to in its place",
        "  threads/odd\\nname: no archive may have such a name; rename it",
    ]


async def test_a_zip_and_the_report_as_json(gateway: Gateway, tmp_path: Path) -> None:
    folder = await asyncio.to_thread(jan_folder, tmp_path / "Jan")
    path = tmp_path / "Jan.zip"
    await asyncio.to_thread(lambda: path.write_bytes(zipped(folder)))
    code, said, _ = await take_in(gateway, path, "--json")
    assert (code, json.loads(said)["counts"]["threads"]) == (1, 2)


async def test_one_threads_folder_keeps_its_name(
    gateway: Gateway, storage_server: StorageServer, tmp_path: Path
) -> None:
    await asyncio.to_thread(put, tmp_path / "jan_1700000001/thread.json", {"title": "Alone"})
    code, said, _ = await take_in(gateway, tmp_path / "jan_1700000001")
    assert (code, said.splitlines()[0]) == (0, "Brought in 1 thread, 0 messages, 0 assistants, 0 models, 0 files.")
    assert (storage_server.janroot / "threads/jan_1700000001/thread.json").is_file()


async def test_the_running_janroot_is_all_here(gateway: Gateway, storage_server: StorageServer) -> None:
    await gateway.json("POST", "/v1/threads", {"messages": [{"role": "user", "content": "Hi"}]})
    await asyncio.to_thread(jan_folders.v06_thread, storage_server.janroot)
    before = await asyncio.to_thread(tree, storage_server.janroot)
    code, said, _ = await take_in(gateway, storage_server.janroot)
    assert (code, said.splitlines()[:2]) == (
        0,
        [
            "Brought in 0 threads, 0 messages, 0 assistants, 0 models, 0 files.",
            "Here already: 4 things.",
        ],
    )
    assert await asyncio.to_thread(tree, storage_server.janroot) == before


async def test_what_is_refused_is_told_in_a_sentence(gateway: Gateway, tmp_path: Path) -> None:
    path = await asyncio.to_thread(put, tmp_path / "a.pdf", "%PDF-1.4")
    code, said, complained = await take_in(gateway, path)
    assert (code, said) == (2, "")
    assert complained.startswith("janroot: There is no conversation in it that could be read")
    code, _, complained = await take_in(gateway, tmp_path / "nowhere")
    assert (code, complained) == (2, f"janroot: {tmp_path / 'nowhere'} cannot be read: No such file or directory.\n")


def test_a_zip_is_made_piece_by_piece(tmp_path: Path) -> None:
    put(tmp_path / "threads/a/messages.jsonl", os.urandom(3_000_000))
    folder = look_into(tmp_path, weights=False)
    pieces = list(zip_pieces(folder))
    assert max(len(data) for data, _ in pieces) < 1_000_000
    assert sum(read for _, read in pieces) == folder.size_bytes == 3_000_000
